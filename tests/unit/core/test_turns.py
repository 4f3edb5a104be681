"""When members pivot, whatever share of the rows that pass is learned."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core.turns import FILLED, FULL_SHARE, PASSED, PIVOTS, WINDOW, Turning, join, new_counter, take, turn
from tests.streams import examples

LIMIT = 256
RULE = Turning()


def segments(taken: np.ndarray, cuts: list[int]) -> tuple[list[int], list[int], np.ndarray]:
    """(rows passed at each pivot, rows learned at it, counter) of a stream whose batches end at `cuts`."""
    counter = new_counter(WINDOW + 5, LIMIT)
    passed, learned = [], []
    ends = sorted({*cuts, len(taken)})
    start = 0
    while start < len(taken):
        end = min(next(cut for cut in ends if cut > start), start + RULE.rows_to_pivot({"counter": counter}))
        take(counter, taken[start:end])
        if RULE.rows_to_pivot({"counter": counter}) == 0:
            passed.append(int(counter[PASSED]))
            learned.append(int(counter[FILLED]))
            turn(counter, LIMIT)
        start = end
    return passed, learned, counter


def test_windows_double_up_to_the_limit() -> None:
    passed, learned, counter = segments(np.ones(1_300, np.bool_), [])
    assert passed == learned == [64, 128, 256, 256, 256, 256]
    assert counter[PIVOTS] == 6
    assert counter[FILLED] == 1_300 - 1_216


@examples(100, 20)
@given(st.floats(0.02, 1.0), st.integers(0, 2**32 - 1), st.lists(st.integers(1, 2_999), max_size=20))
def test_a_window_is_full_or_nearly_so_wherever_batches_are_cut(share: float, seed: int, cuts: list[int]) -> None:
    taken = np.random.RandomState(seed).random_sample(3_000) < share
    passed, learned, counter = segments(taken, cuts)
    windows = [min(64 * 2**pivot, LIMIT) for pivot in range(len(passed))]
    assert all(FULL_SHARE * window <= rows <= window for window, rows in zip(windows, learned, strict=True))
    assert np.array_equal(counter, segments(taken, [])[2])


def test_one_segment_is_enough_where_few_rows_are_held_back() -> None:
    taken = np.arange(256) % 20 != 0
    passed, _, _ = segments(np.concatenate([np.ones(64 + 128, np.bool_), taken]), [])
    assert passed == [64, 128, 256]


@pytest.mark.parametrize("held_back", [0, 40])
def test_what_two_streams_took_adds_up(held_back: int) -> None:
    taken = np.arange(64) >= held_back
    whole, one, other = (new_counter(5, LIMIT) for _ in range(3))
    take(whole, taken)
    take(one, taken[:30])
    take(other, taken[30:])
    join(one, other)
    assert np.array_equal(one, whole)
    assert RULE.rows_to_pivot({"counter": one}) == held_back
