"""The stability index against its textbook formula, and the windows that it compares."""

from __future__ import annotations

import numpy as np
import pytest

from detector.codec.snapshot import restore
from detector.core import drift
from detector.core.profile import as_bits
from detector.core.state import gauges
from tests.streams import CARD_ONLY, pieces, run, seeded_codes, state_bytes, stream


def learned(arrays: drift.Arrays, values: np.ndarray) -> drift.Arrays:
    drift.learn(arrays, as_bits(values), np.zeros(len(values), np.bool_))
    return arrays


def index(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """Of two windows of rows (n, f)."""
    arrays = drift.new_arrays(before.shape[1])
    drift.turn(arrays, 0)
    drift.turn(learned(arrays, before), 1)
    drift.turn(learned(arrays, now), 2)
    return arrays["index"]


def textbook(before: np.ndarray, now: np.ndarray) -> float:
    edges = np.quantile(before, np.linspace(0.0, 1.0, 11)[1:-1])
    p, q = (np.bincount(np.searchsorted(edges, values), minlength=10) / len(values) for values in (before, now))
    return float(((q - p) * np.log(q / p)).sum())


RANDOM = np.random.RandomState(3)
AMOUNTS = np.exp(RANDOM.normal(3.0, 1.0, (4_000, 1)))


@pytest.mark.parametrize(("factor", "low", "high"), [(1.0, 0.0, 0.02), (1.3, 0.03, 0.12), (3.0, 0.7, 2.0)])
def test_it_is_the_textbook_s_within_a_bin(factor: float, low: float, high: float) -> None:
    now = factor * np.exp(np.random.RandomState(5).normal(3.0, 1.0, (4_000, 1)))
    found = float(index(AMOUNTS, now)[0])
    assert low <= found <= high
    assert found == pytest.approx(textbook(AMOUNTS[:, 0], now[:, 0]), rel=0.2, abs=0.01)


def test_a_field_that_is_no_longer_sent_shows() -> None:
    now = AMOUNTS.copy()
    now[::2] = np.nan
    assert index(AMOUNTS, now)[0] > 1.0
    assert index(now, now.copy())[0] < 0.01


def test_values_that_many_share() -> None:
    flags = (RANDOM.random_sample((4_000, 2)) < (0.02, 0.98)).astype(np.float64)
    assert (index(flags, flags[::-1].copy()) < 0.001).all()
    assert (index(flags, 1.0 - flags) > 2.0).all()
    assert (index(np.ones((2_000, 1)), np.ones((2_000, 1))) < 0.001).all()
    assert (index(np.ones((2_000, 1)), np.full((2_000, 1), 5.0)) > 2.0).all()


def test_a_window_is_a_day_that_holds_rows_enough() -> None:
    arrays = drift.new_arrays(1)
    drift.turn(arrays, 7)
    drift.turn(learned(arrays, AMOUNTS[:900]), 8)
    assert arrays["counter"][drift.COUNTED] == 900
    drift.turn(learned(arrays, AMOUNTS[900:1_100]), 8)
    assert arrays["counter"].tolist() == [0, 0, 1_100, 8]
    assert np.isnan(arrays["index"]).all()
    drift.turn(learned(arrays, AMOUNTS[1_100:3_000]), 8)  # the day goes on
    assert arrays["counter"][drift.COUNTED] == 1_900
    drift.turn(arrays, 11)
    assert 0.0 < arrays["index"][0] < 0.05
    assert arrays["counter"][drift.DAY] == 11


def test_what_came_before_fades() -> None:
    arrays = drift.new_arrays(1)
    drift.turn(arrays, 0)
    drift.turn(learned(arrays, AMOUNTS), 1)
    moved = []
    for day in range(2, 30):
        drift.turn(learned(arrays, 3.0 * AMOUNTS), day)
        moved.append(float(arrays["index"][0]))
    assert moved[0] > 0.7
    assert moved == sorted(moved, reverse=True)
    assert moved[-1] < 0.02


def test_late_rows_are_left_out_and_many_rows_are_sampled() -> None:
    arrays = drift.new_arrays(1)
    drift.learn(arrays, as_bits(AMOUNTS), np.ones(len(AMOUNTS), np.bool_))
    assert not arrays["latest"].any()
    learned(arrays, np.tile(AMOUNTS, (3, 1)))
    assert arrays["counter"].tolist() == [12_000, 4_096 + 988, 0, -1]
    assert arrays["latest"].sum() == 4_096 + 988


def test_law_cut_invariance_and_round_trip_over_the_turn_of_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "WINDOW_ROWS_MIN", 5)
    batch = stream(CARD_ONLY, seeded_codes(8, 300, False))
    whole, decided = run(CARD_ONLY, [batch])
    assert np.isfinite(whole.drift["index"]).all()
    one, first = run(CARD_ONLY, pieces(batch, [1, 40, 41, 200])[:3])
    one, rest = run(CARD_ONLY, pieces(batch, [41, 137, 200])[1:], restore(CARD_ONLY, state_bytes(CARD_ONLY, one)))
    assert first + rest == decided
    assert state_bytes(CARD_ONLY, one) == state_bytes(CARD_ONLY, whole)
    figures = gauges(CARD_ONLY, one)
    assert [figures[f"drift.{feature.name}"] for feature in CARD_ONLY.features] == one.drift["index"].tolist()
