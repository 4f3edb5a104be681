"""The feature profile against numpy: bins, quantiles, scales, rarities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core import profile
from detector.core.profile import ABOVE, BELOW, BINS, EITHER, SAME, ZERO
from tests.streams import examples

EDGES = profile.bin_edges()
BIN_WIDTH = 2.0 ** (1 / 8) + 0.04  # the coarsest bin of an octave: 1 to 1.125
NUMBERS = st.floats(-1e12, 1e12).map(lambda value: float(np.float32(value)))


def bins_of(values: np.ndarray) -> np.ndarray:
    return np.array([profile.bin_kernel(bits) for bits in profile.as_bits(np.asarray(values, np.float64))])


def cumulated(values: np.ndarray) -> np.ndarray:
    counts = np.bincount(bins_of(values), minlength=BINS)
    return np.concatenate([[0], np.cumsum(counts)])


@examples(200, 50)
@given(NUMBERS)
def test_a_value_lies_in_its_bin(value: float) -> None:
    position = int(bins_of([value])[0])
    assert EDGES[position] <= value <= EDGES[position + 1]


@examples(200, 50)
@given(NUMBERS, NUMBERS)
def test_bins_are_in_order(one: float, other: float) -> None:
    low, high = bins_of(sorted((one, other)))
    assert low <= high


def test_extremes_have_bins() -> None:
    values = np.array([np.nan, np.inf, -np.inf, 1e300, -1e300, 0.0, -0.0, 1e-300, -1e-30])
    assert bins_of(values).tolist() == [-1, BINS - 1, 0, BINS - 1, 0, ZERO, ZERO, ZERO, ZERO]
    assert (np.diff(EDGES) > 0).all()
    assert len(EDGES) == BINS + 1


@pytest.mark.parametrize("shape", ["amounts", "counts", "either side", "few values"])
def test_quantiles_are_those_of_numpy_within_a_bin(shape: str) -> None:
    random = np.random.RandomState(0)
    values = {
        "amounts": np.exp(random.normal(3.0, 1.0, 4_000)),
        "counts": random.poisson(40, 4_000).astype(np.float64),
        "either side": random.normal(0.0, 50.0, 4_000),
        "few values": random.choice([1.0, 10.0, 100.0], 4_000),
    }[shape]
    counts = cumulated(values)
    found = [profile.quantile_kernel(counts, EDGES, share) for share in np.linspace(0.01, 0.99, 50)]
    assert (np.diff(found) >= 0).all()
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        quantile = profile.quantile_kernel(counts, EDGES, share)
        low, high = np.quantile(values, [max(0.0, share - 0.01), min(1.0, share + 0.01)])
        slack = (BIN_WIDTH - 1.0) * max(abs(low), abs(high))
        assert low - slack <= quantile <= high + slack


def test_quantiles_of_nothing_and_of_zeros() -> None:
    assert profile.quantile_kernel(np.zeros(BINS + 1, np.int64), EDGES, 0.5) == 0.0
    assert profile.quantile_kernel(cumulated(np.zeros(9)), EDGES, 0.95) == 0.0


@pytest.mark.parametrize("side", [ABOVE, BELOW, EITHER, SAME])
def test_rarities_are_shares_of_earlier_values(side: int) -> None:
    random = np.random.RandomState(1)
    values = np.exp(random.normal(0.0, 2.0, 3_000))
    counts, bins = cumulated(values), bins_of(values)
    for value in (1e-6, 0.05, 0.9, 1.0, 20.0, 1e9):
        own = int(bins_of([value])[0])
        above = ((bins > own).sum() + 0.5 * (bins == own).sum() + 1) / 3_001
        below = ((bins < own).sum() + 0.5 * (bins == own).sum() + 1) / 3_001
        same = ((bins == own).sum() + 1) / 3_001
        expected = {ABOVE: above, BELOW: below, EITHER: min(above, below), SAME: same}[side]
        found = profile.rarity_kernel(counts, profile.as_bits(np.array([value]))[0], side)
        assert found == pytest.approx(min(1.0, expected))


def test_a_missing_value_is_never_rare_and_nothing_is_impossible() -> None:
    counts = cumulated(np.ones(99))
    assert profile.rarity_kernel(counts, profile.as_bits(np.array([np.nan]))[0], ABOVE) == 1.0
    assert profile.rarity_kernel(counts, profile.as_bits(np.array([1e9]))[0], ABOVE) == pytest.approx(0.01)
    nothing = np.zeros(BINS + 1, np.int64)
    assert profile.rarity_kernel(nothing, profile.as_bits(np.array([1.0]))[0], ABOVE) == 1.0


def test_scales_are_median_and_quartiles_and_never_zero() -> None:
    random = np.random.RandomState(2)
    columns = [
        random.normal(100.0, 10.0, 4_000),
        np.full(4_000, 5.0),
        np.zeros(4_000),
        np.where(random.random_sample(4_000) < 0.02, 50.0, 0.0),
        np.full(4_000, -1e12),
    ]
    center, width = np.empty(5), np.empty(5)
    counts = np.stack([cumulated(column) for column in columns])
    profile.scale_kernel(counts, np.arange(len(columns)), EDGES, center, width)
    assert center[0] == pytest.approx(100.0, rel=0.1)
    assert width[0] == pytest.approx(13.5, rel=0.35)
    assert (width > 0).all()
    assert np.isfinite(center).all()
    assert width[3] >= 40.0  # half the values are equal: the range is taken where they differ


@examples(100, 30)
@given(st.lists(st.floats(-1e15, 1e15), min_size=2, max_size=30), NUMBERS, st.floats(1e-6, 1e12))
def test_squashing_keeps_order_inside_the_unit_interval(values: list[float], center: float, width: float) -> None:
    rows = np.array(sorted(values))[:, None]
    out = np.empty((1, len(values)))
    profile.squash_kernel(rows, np.zeros(1, np.int64), np.array([center]), np.array([width]), out)
    assert ((out >= 0.0) & (out <= 1.0)).all()
    assert (np.diff(out[0]) >= 0).all()


def test_squashing_keeps_missing_values() -> None:
    out = np.empty((1, 1))
    profile.squash_kernel(np.array([[np.nan]]), np.zeros(1, np.int64), np.zeros(1), np.ones(1), out)
    assert np.isnan(out[0, 0])


def learned(rows: int, values: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    counted, histogram = np.zeros(2, np.int64), np.zeros((1, BINS), np.int64)
    values = np.ones(rows) if values is None else values
    profile.learn_kernel(profile.as_bits(values[:, None]), np.zeros(rows, np.bool_), counted, histogram)
    return counted, histogram


def test_one_row_in_eight_is_counted_after_the_first() -> None:
    rows = profile.ALL_UNTIL_ROWS + 8_000
    counted, histogram = learned(rows)
    assert histogram.sum() == counted[1] == profile.ALL_UNTIL_ROWS + 1_000
    assert counted[0] == rows


def test_counts_halve_so_that_the_profile_follows() -> None:
    counted = np.array([0, profile.COUNT_MAX - 1], np.int64)
    histogram = np.zeros((1, BINS), np.int64)
    histogram[0, :3] = 7, 1, 100_000
    profile.learn_kernel(profile.as_bits(np.ones((1, 1))), np.zeros(1, np.bool_), counted, histogram)
    assert counted.tolist() == [1, profile.COUNT_MAX // 2]
    assert histogram[0, :3].tolist() == [3, 0, 50_000]


def test_late_rows_are_not_counted() -> None:
    counted, histogram = np.zeros(2, np.int64), np.zeros((1, BINS), np.int64)
    late = np.array([False, True, True, False])
    profile.learn_kernel(profile.as_bits(np.ones((4, 1))), late, counted, histogram)
    assert histogram.sum() == 2
    assert counted.tolist() == [2, 2]
