"""The storm of `make chaos`, a short one."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.storm import storm


def test_law_exactly_once_in_a_storm(tmp_path: Path) -> None:
    equal, told = storm(tmp_path, seconds=15.0, seed=11)
    assert equal, told
    assert sum(told.values()) > told["transactions"] + told["alerts"], "no fault befell it"
