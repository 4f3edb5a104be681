"""The bench of the members, run tiny so that it cannot rot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import members_bench
from tests.streams import WITHOUT_JIT


@pytest.mark.skipif(WITHOUT_JIT, reason="a bench of compiled kernels")
def test_it_writes_every_member_and_all_together(tmp_path: Path) -> None:
    assert members_bench.main(["--rows", "2000", "--folder", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "members.json").read_text())["rows_per_s"]
    assert list(found) == [
        "half_space_trees",
        "isolation_forest",
        "projections_range",
        "projections_asinh",
        "mahalanobis",
        "together",
        "decided",
    ]
    assert all(per_s > 1_000 for per_s in found.values())
