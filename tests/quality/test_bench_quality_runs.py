"""The quality bench, tiny: it must not rot between the times that someone looks at its figures."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.quality.bench.peers import PEERS
from tests.quality.bench.sets import FURTHER, SETS, load_set
from tests.quality.data import ROOT

MADE_UP = [source for source in SETS if source.make]


@pytest.mark.slow
def test_the_quick_bench_writes_table_and_picture(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "tests.quality.bench", "--quick", "--folder", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    rows = json.loads((tmp_path / "quality.json").read_text())
    assert {row["set"] for row in rows} == {source.name for source in SETS if not source.absent}
    for source in MADE_UP:
        who = {row["who"]: row for row in rows if row["set"] == source.name}
        assert {"detector", *(peer.name for peer in PEERS if not peer.absent)} <= set(who)
        for row in who.values():
            assert 0 <= row["auc"] <= 1
            assert 0 < row["ap"] <= 1
            assert (row["rows_per_s"] is None) == row["who"].startswith("detector: ")
            assert row["rows_per_s"] is None or row["rows_per_s"] > 0
    labelled = {source.name for source in SETS if source.label_delay and not source.absent}
    assert {row["set"] for row in rows if row["labels"] != "none"} == labelled
    assert all({"auc_spread", "ap_spread"} <= row.keys() for row in rows)
    with (tmp_path / "quality.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(rows)
    assert (tmp_path / "quality.png").read_bytes().startswith(b"\x89PNG")
    assert "ROC AUC" in done.stdout


@pytest.mark.parametrize("source", [*MADE_UP, *FURTHER], ids=lambda source: source.name)
def test_made_up_sets_are_the_same_for_ever(source) -> None:
    one = load_set(source, 1_000)
    source.make.cache_clear()
    other = load_set(source, 1_000)
    assert one.fraud.any()
    assert one.fraud.mean() < 0.1
    assert np.array_equal(one.fraud, other.fraud)
    assert all(
        np.array_equal(a.numeric, b.numeric) and np.array_equal(a.event_time_ms, b.event_time_ms)
        for a, b in zip(one.batches, other.batches, strict=True)
    )
