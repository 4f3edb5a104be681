"""Surprise of a member's score: the share of rows that score as high, counted in the body, fitted in the tail."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core import surprise
from tests.streams import examples


def tails_of(scores: np.ndarray) -> np.ndarray:
    tails = np.zeros((len(scores), surprise.BINS + 1), np.float32)
    counts = np.zeros((len(scores), surprise.BINS), np.int32)
    surprise.count_kernel(read(scores, tails)[0], np.ones(scores.shape[1], np.bool_), counts)
    surprise.freeze_kernel(counts, tails, surprise.MEMORY_ROWS)
    return tails


def read(scores: np.ndarray, tails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    place, nats = np.empty(scores.shape, np.int32), np.empty(scores.shape)
    surprise.read_kernel(scores, tails, place, nats)
    return place, nats


@examples(60, 10)
@given(st.integers(0, 2**32 - 1), st.integers(1, 500), st.floats(0.01, 6.0))
def test_surprise_rises_with_the_score_and_has_no_end(seed: int, rows: int, spread: float) -> None:
    random = np.random.RandomState(seed)
    scores = 1.0 / (1.0 + np.exp(-random.normal(0.0, spread, (2, rows))))
    scores[1] = np.round(scores[1], 1)  # many equals
    tails = tails_of(scores)
    octaves = np.linspace(surprise.LOWEST_OCTAVE - 1.0, 23.9, 3_000)
    probe = np.tile(1.0 / (1.0 + 2.0**-octaves), (2, 1))
    _, nats = read(probe, tails)
    assert (np.diff(nats, axis=1) >= 0.0).all()
    assert (nats >= -1e-6).all()
    assert np.isfinite(nats).all()
    beyond = (probe[0] > scores.max()) & (octaves >= surprise.LOWEST_OCTAVE)  # below, all share the first bin
    assert (np.diff(nats[0, beyond]) > 0.0).all()


def test_the_body_is_counted_and_the_tail_is_fitted() -> None:
    odds = np.random.RandomState(1).exponential(1.0, (1, 20_000))  # octaves above even odds
    scores = 1.0 / (1.0 + 2.0**-odds)
    tails = tails_of(scores)
    for octaves in (0.2, 1.0, 2.0, 4.0, 12.0):
        _, nats = read(np.array([[1.0 / (1.0 + 2.0**-octaves)]]), tails)
        assert abs(nats[0, 0] - octaves) < 0.06 * max(1.0, octaves)


@pytest.mark.parametrize("shape", [-0.4, -0.2, 0.0, 0.15])
def test_a_nat_is_the_same_share_whether_the_tail_has_an_end_or_runs_far_out(shape: float) -> None:
    exponential = np.random.RandomState(2).exponential(1.0, 200_000)
    octaves = np.expm1(shape * exponential) / shape if shape else exponential
    tails = tails_of(1.0 / (1.0 + 2.0 ** -octaves[None, :]))
    for nats in (3.0, 5.0, 7.0):
        at = np.expm1(shape * nats) / shape if shape else nats
        _, told = read(np.array([[1.0 / (1.0 + 2.0**-at)]]), tails)
        assert abs(told[0, 0] - nats) < 0.1 * nats


def test_few_rows_leave_the_tail_exponential() -> None:
    octaves = np.sqrt(np.random.RandomState(3).exponential(1.0, 400))
    tails = tails_of(1.0 / (1.0 + 2.0 ** -octaves[None, :]))
    slopes = np.diff(tails[0, int((np.sort(octaves)[-20] - surprise.LOWEST_OCTAVE) * surprise.BINS_AN_OCTAVE) :])
    assert slopes.max() < 1.1 * slopes.min()


def test_counts_halve_and_the_scale_stays() -> None:
    counts = np.zeros((1, surprise.BINS), np.int32)
    counts[0, 1_000:1_100] = surprise.MEMORY_ROWS // 50
    tails = np.zeros((1, surprise.BINS + 1), np.float32)
    surprise.freeze_kernel(counts, tails, surprise.MEMORY_ROWS)
    assert counts.sum() <= surprise.MEMORY_ROWS
    halved = tails.copy()
    surprise.freeze_kernel(counts, halved, surprise.MEMORY_ROWS)
    np.testing.assert_allclose(halved, tails, rtol=1e-3)


def test_a_short_memory_halves_sooner() -> None:
    counts = np.zeros((1, surprise.BINS), np.int32)
    counts[0, 1_000:1_100] = 100
    surprise.freeze_kernel(counts, np.zeros((1, surprise.BINS + 1), np.float32), 10_001)
    assert counts.sum() == 10_000
    surprise.freeze_kernel(counts, np.zeros((1, surprise.BINS + 1), np.float32), 8_000)
    assert counts.sum() == 5_000


def test_nothing_counted_says_nothing() -> None:
    assert not tails_of(np.empty((3, 0))).any()
