"""The reservoir: as good as a random sample of the past, the recent past at length, and the same at any cut."""

from __future__ import annotations

import numpy as np

from detector.core import reservoir
from tests.streams import WITHOUT_JIT

COLUMN = np.zeros(1, np.int64)


def filled(rows: int, size: int, cuts: int = 1, seed: int = 3) -> np.ndarray:
    sample, sampled = np.zeros((size, 1), np.float32), np.zeros(1, np.int64)
    for part in np.array_split(np.arange(rows, dtype=np.float64)[:, None], cuts):
        reservoir.learn(part, COLUMN, np.ones(len(part), np.bool_), seed, sample, sampled)
    assert sampled[0] == rows
    return sample[:, 0]


def test_a_short_stream_is_kept_whole() -> None:
    assert filled(50, 64)[:50].tolist() == list(range(50))


def test_every_row_is_as_likely() -> None:
    rows = 2_000 if WITHOUT_JIT else 60_000
    found = np.sort(filled(rows, 512)) / rows
    assert np.abs(found - (np.arange(512) + 0.5) / 512).max() < 0.09


def test_old_rows_fade_once_the_memory_is_full() -> None:
    sample, sampled = np.zeros((256, 1), np.float32), np.array([reservoir.MEMORY_ROWS])
    rows = reservoir.MEMORY_ROWS // (64 if WITHOUT_JIT else 1)
    share = rows / reservoir.MEMORY_ROWS
    reservoir.learn(np.ones((rows, 1)), COLUMN, np.ones(rows, np.bool_), 1, sample, sampled)
    assert abs(sample.mean() - (1.0 - np.exp(-share))) < 0.1


def test_a_shorter_memory_forgets_sooner() -> None:
    """As many rows as the sample is of leave one in e of what was there, however much came before."""
    sample, sampled = np.zeros((512, 1), np.float32), np.array([10 * reservoir.MEMORY_ROWS])
    rows = 2_048
    offered = np.ones((rows, 1)), COLUMN, np.ones(rows, np.bool_), 1
    reservoir.learn(*offered, sample, sampled, np.full(rows, rows))
    assert abs(sample.mean() - (1.0 - np.exp(-1.0))) < 0.1


def test_cuts_change_nothing_and_seeds_do() -> None:
    np.testing.assert_array_equal(filled(5_000, 64), filled(5_000, 64, cuts=17))
    assert (filled(5_000, 64) != filled(5_000, 64, seed=4)).any()


def test_missing_values_stay_missing_and_absurd_ones_are_held() -> None:
    sample, sampled = np.zeros((4, 1), np.float32), np.zeros(1, np.int64)
    values = np.array([[np.nan], [1e300], [-np.inf], [2.5]])
    reservoir.learn(values, COLUMN, np.array([True, True, True, False]), 0, sample, sampled)
    assert np.isnan(sample[0, 0])
    assert sample[1:3, 0].tolist() == [np.float32(1e30), np.float32(-1e30)]
    assert sampled[0] == 3


def test_draws_are_even() -> None:
    found = np.sort(reservoir.draws(7, 1_000, 20_000))
    assert np.abs(found - np.linspace(0.0, 1.0, 20_000)).max() < 0.02
    np.testing.assert_array_equal(reservoir.draws(7, 1_005, 10), reservoir.draws(7, 1_000, 15)[5:])


def test_two_short_samples_are_set_one_after_the_other() -> None:
    merged, rows = reservoir.merge(filled(20, 64)[:, None], 20, filled(30, 64)[:, None], 30, seed=1)
    assert rows == 50
    assert merged[:50, 0].tolist() == [*range(20), *range(30)]


def test_merged_samples_hold_either_stream_in_proportion() -> None:
    ones, twos = np.ones((512, 1), np.float32), np.full((512, 1), 2.0, np.float32)
    merged, rows = reservoir.merge(ones, 3_000, twos, 9_000, seed=5)
    assert rows == 12_000
    assert abs(np.count_nonzero(merged == 1.0) / 512 - 0.25) < 0.06
    few, _ = reservoir.merge(ones, 100_000, filled(10, 512)[:, None] + 7.0, 10, seed=5)
    assert np.count_nonzero(few != 1.0) <= 2


def test_a_merged_sample_draws_no_row_twice() -> None:
    odd, even = np.arange(0, 512, 2, dtype=np.float32)[:, None], np.arange(1, 512, 2, dtype=np.float32)[:, None]
    merged, _ = reservoir.merge(odd, 5_000, even, 5_000, seed=2)
    assert len(np.unique(merged)) == 256
