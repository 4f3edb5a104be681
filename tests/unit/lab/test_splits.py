"""Splits: no row is learned before its label is known, every row is tested once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.lab.errors import InputStopped
from detector.lab.splits import by_time, by_time_of, stratified
from tests.unit.lab.tables import DAY_MS, matrix_of, rows, written

HOUR_MS = 3_600_000


@given(
    times=st.lists(st.integers(0, 10_000), min_size=1, max_size=200),
    folds=st.integers(1, 5),
    delay_ms=st.integers(0, 3_000),
)
def test_law_no_look_ahead(times: list[int], folds: int, delay_ms: int) -> None:
    event_time_ms = np.array(times, np.int64)
    try:
        found = by_time_of(event_time_ms, folds, delay_ms)
    except InputStopped:
        return
    tested = np.concatenate([fold.test for fold in found])
    assert len(np.unique(tested)) == len(tested)
    for fold in found:
        begin_ms = event_time_ms[fold.test].min()
        assert (event_time_ms[fold.train] + delay_ms <= begin_ms).all()
        assert not np.intersect1d(fold.train, fold.test).size
        assert len(fold.train)
        assert len(fold.test)
    later = np.setdiff1d(np.arange(len(times)), tested)
    assert (event_time_ms[later] < event_time_ms[tested].min()).all()  # what is not tested lies before all that is


def test_by_time_tells_why_there_is_nothing_to_learn(tmp_path: Path) -> None:
    matrix = matrix_of(written(tmp_path / "payments.csv", rows()), "is_fraud")
    folds = by_time(matrix, 2, DAY_MS)
    assert [fold.name for fold in folds] == [
        "2025-01-06 00:00 to 2025-01-08 11:48",
        "2025-01-08 12:00 to 2025-01-10 23:48",
    ]
    assert [len(fold.train) for fold in folds] == [481, 781]
    with pytest.raises(InputStopped, match=r"older than the label delay, 144\.0 h: shorten --label-delay"):
        by_time(matrix, 2, 6 * DAY_MS)
    with pytest.raises(InputStopped, match="found 1 different times"):
        by_time_of(np.zeros(10, np.int64), 2, 0)


def test_stratified_folds_hold_as_many_frauds_each(tmp_path: Path) -> None:
    matrix = matrix_of(written(tmp_path / "payments.csv", rows()), "is_fraud")
    folds = stratified(matrix, 5, seed=3)
    frauds = [int(matrix.label[fold.test].sum()) for fold in folds]
    assert max(frauds) - min(frauds) <= 1
    np.testing.assert_array_equal(np.sort(np.concatenate([fold.test for fold in folds])), np.arange(len(matrix)))
    assert all(not np.intersect1d(fold.train, fold.test).size for fold in folds)
    assert not np.array_equal(folds[0].test, stratified(matrix, 5, seed=4)[0].test)
    with pytest.raises(InputStopped, match="at least 1000 frauds, one a fold"):
        stratified(matrix, 1_000)
