"""Scores, bins and ranks against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core import budget, fusion
from tests.streams import examples

BIN = st.integers(0, fusion.BINS - 1)


def tree_of(bins: list[int]) -> np.ndarray:
    tree = np.zeros(fusion.BINS + 1, np.int64)
    for position in bins:
        fusion.count_kernel(tree, position, 1)
    return tree


@examples(60, 15)
@given(st.lists(BIN, max_size=200), BIN, st.floats(0.0, 1.0))
def test_ranks_are_those_of_numpy(bins: list[int], position: int, share: float) -> None:
    tree, values = tree_of(bins), np.array(bins, np.int64)
    assert fusion.below_kernel(tree, position) == (values < position).sum()
    assert fusion.below_kernel(tree, fusion.BINS) == len(values)
    if bins:
        found = fusion.quantile_bin_kernel(tree, len(bins), share)
        assert (values <= found).sum() >= share * len(bins)
        assert found == 0 or (values < found).sum() < share * len(bins)


@examples(30, 5)
@given(st.lists(BIN, max_size=200))
def test_halving_keeps_the_shape(bins: list[int]) -> None:
    tree = tree_of(bins)
    left = fusion.halve_kernel(tree, False)
    expected = np.bincount(np.array(bins, np.int64), minlength=fusion.BINS) >> 1
    assert left == expected.sum()
    found = [fusion.below_kernel(tree, place + 1) - fusion.below_kernel(tree, place) for place in range(fusion.BINS)]
    np.testing.assert_array_equal(found, expected)


@examples(30, 5)
@given(st.lists(BIN, max_size=200))
def test_even_halving_keeps_the_share_beyond_each_bin(bins: list[int]) -> None:
    tree, places = tree_of(bins), range(fusion.BINS + 1)
    before = np.array([fusion.below_kernel(tree, place) for place in places])
    assert fusion.halve_kernel(tree, True) == len(bins) // 2
    np.testing.assert_array_equal([fusion.below_kernel(tree, place) for place in places], before // 2)


def test_bins_are_monotone_and_fine_near_one() -> None:
    score = 1.0 - 2.0 ** -np.linspace(0.0, 64.0, 5_000)
    bins = fusion.score_bins(score)
    assert (np.diff(bins) >= 0).all()
    assert bins[0] == 0
    assert bins.max() < fusion.BINS
    assert fusion.score_bins(np.array([0.0, 1.0])).tolist() == [0, 63 * 64]
    spread = fusion.score_bins(1.0 - 0.5 ** np.arange(1.0, 40.0))
    assert np.diff(spread).tolist() == [64] * 38


@examples(200, 50)
@given(st.floats(0.0, 1.0 - 1e-12))
def test_a_score_lies_in_its_bin(score: float) -> None:
    position = int(fusion.score_bins(np.array([score]))[0])
    assert fusion.bin_score(position) <= score + 1e-12
    assert score <= fusion.bin_score(position + 1) + 1e-12


NATS = st.floats(0.0, 2_000.0)


@examples(100, 30)
@given(st.lists(st.tuples(NATS, NATS, NATS), min_size=1, max_size=20), st.integers(0, 2), st.floats(1e-3, 50.0))
def test_the_anomaly_rises_with_each_member(rows: list[tuple[float, ...]], member: int, more: float) -> None:
    nats = np.array(rows).T
    weight = np.array([1.0, 0.25, 3.0])
    fused = fusion.fuse(nats, weight)
    assert ((fused >= 0.0) & (fused < 1.0)).all()
    higher = nats.copy()
    higher[member] += more
    assert (fusion.fuse(higher, weight) >= fused).all()
    assert (fusion.score_bins(fusion.fuse(higher, weight)) >= fusion.score_bins(fused)).all()


def test_members_that_agree_are_believed_to_the_word() -> None:
    nats = np.linspace(0.0, 8.0, 50)
    np.testing.assert_allclose(fusion.fuse(np.stack([nats, nats]), np.array([1.0, 2.0])), 1.0 - np.exp(-nats))


def test_what_nothing_surprised_so_much_before_still_differs() -> None:
    fused = fusion.fuse(np.linspace(0.0, 500.0, 2_000)[None, :], np.ones(1))
    assert (np.diff(fused) > 0.0).all()


def risks(bins: list[int]) -> np.ndarray:
    clock = np.zeros(budget.CLOCK, np.int64)
    clock[[budget.EVENT_MS, budget.FIRST_MS]] = -1
    meter = np.full(budget.METER, -1.0)
    meter[budget.MEMORY] = budget.MEMORY_ROWS
    rows = len(bins)
    risk, verdict = np.empty(rows), np.empty(rows, np.int8)
    budget.decide_kernel(
        np.full(rows, 1_700_000_000_000),
        np.ones(rows),
        *np.zeros((2, rows), np.bool_),
        np.full(rows, budget.STANDING_ROWS),
        True,
        np.array(bins, np.int64),
        np.full(rows, 0.5),
        -1,
        1,
        1_001.0,
        1_001.0,
        0.0,
        clock,
        meter,
        np.zeros(fusion.BINS + 1, np.int64),
        np.zeros(fusion.BINS + 1, np.int64),
        np.zeros(fusion.BINS + 1, np.int64),
        risk,
        verdict,
    )
    return risk


@examples(60, 15)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=60))
def test_risk_is_the_share_of_earlier_rows_that_scored_lower(bins: list[int]) -> None:
    risk = risks(bins)
    values = np.array(bins)
    for i, value in enumerate(bins):
        before = values[:i]
        lower, equal = (before < value).sum(), (before == value).sum()
        expected = 1000.0 * (lower + 0.5 * (equal + 1)) / (i + 1)
        assert risk[i] == pytest.approx(expected)
    assert ((risk > 0.0) & (risk < 1000.0)).all()


@examples(60, 15)
@given(st.lists(BIN, max_size=100), BIN, BIN)
def test_risk_is_monotone_in_the_score(bins: list[int], one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert risks([*bins, low])[-1] <= risks([*bins, high])[-1]


@examples(100, 20)
@given(st.integers(0, 2**32 - 1), st.integers(0, 3_000), st.integers(1, 400))
def test_risk_rises_with_the_score_in_the_fitted_tail(seed: int, rows: int, spread: int) -> None:
    random = np.random.RandomState(seed)
    tree = tree_of(np.minimum(random.exponential(spread, rows), fusion.BINS - 1).astype(int).tolist())
    shares = [fusion.tail_share_kernel(tree, rows, position) for position in range(0, fusion.BINS, 7)]
    assert (np.diff(shares) <= 0.0).all()
    assert min(shares) > 0.0
    assert 1_000.0 * (1.0 - min(shares)) < 1_000.0


def test_a_risk_of_990_is_counted_and_a_burst_does_not_use_the_highest_ranks_up() -> None:
    random = np.random.RandomState(0)
    nat = fusion.BINS_A_NAT
    usual = np.minimum(random.exponential(nat, 20_000), 3_000.0).astype(int).tolist()
    tree = tree_of(usual)
    place = int(np.quantile(usual, 0.99))
    assert fusion.tail_share_kernel(tree, 20_000, place) == pytest.approx(0.01, rel=0.05)
    for nats in (6.0, 8.0):
        share = fusion.tail_share_kernel(tree, 20_000, int(nats * nat))
        assert 1.0 <= share / np.exp(-nats) < 3.0  # the tail never ends
    burst = tree_of(usual + 60 * [2_000])
    assert fusion.tail_share_kernel(burst, 20_060, 2_000) < 1e-4


def test_above_990_the_order_is_the_score_s_whatever_lies_below() -> None:
    """Two months of the same 99 % quantile, one with flatter shoulders: neither orders its oddities otherwise."""
    steep, flat = tree_of(9_800 * [10] + 200 * [400]), tree_of(9_800 * [395] + 200 * [400])
    for position in (500, 700, 1_200, 4_000):
        assert fusion.tail_share_kernel(steep, 10_000, position) == pytest.approx(
            fusion.tail_share_kernel(flat, 10_000, position), rel=1e-9
        )
