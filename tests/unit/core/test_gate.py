"""The learning gate: closed to a burst, open to a stream that has changed."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from detector.core import gate
from detector.core.batch import TransactionBatch
from detector.core.operator import step
from detector.core.spec import HalfSpaceTrees, Spec, parse_feature
from detector.core.state import TaskState, new_state
from tests.streams import CARD_ONLY, EVERY_MEMBER, WITHOUT_JIT

SPEC = replace(
    CARD_ONLY,
    keys=(),
    entities=(),
    numeric=("v", "w"),
    features=tuple(parse_feature(f"numeric.{name}") for name in ("v", "w")),
    members=tuple(
        replace(member, window_rows=250) if isinstance(member, HalfSpaceTrees) else replace(member, pivot_rows=250)
        for member in EVERY_MEMBER
    ),
)
USUAL, BURST = (1_500, 200) if WITHOUT_JIT else (6_000, 900)


def batch(values: np.ndarray, first: int) -> TransactionBatch:
    rows = len(values)
    nothing = np.full(rows, np.nan)
    return TransactionBatch(
        np.arange(first, first + rows),
        1_700_000_000_000 + 1_000 * np.arange(first, first + rows),
        nothing,
        np.empty((0, rows), np.uint64),
        nothing,
        nothing,
        np.ascontiguousarray(values.T),
    )


def usual(rows: int, seed: int) -> np.ndarray:
    return np.random.RandomState(seed).normal(0.0, 1.0, (rows, 2))


def learned(state: TaskState) -> int:
    return int(state.sampled[0])


def trained() -> TaskState:
    state = new_state(SPEC)
    step(SPEC, state, batch(usual(USUAL, 0), 0))
    return state


def test_about_one_usual_row_in_a_hundred_is_held_back() -> None:
    state = trained()
    assert 0.98 * USUAL < learned(state) < USUAL
    assert learned(state) + state.gate["counter"][gate.HELD] == USUAL


def test_a_burst_is_scored_to_its_end_and_not_learned() -> None:
    state = trained()
    before = learned(state)
    burst = usual(BURST, 1) * 0.1 + 25.0
    decided = step(SPEC, state, batch(burst, USUAL))
    assert learned(state) - before < 0.02 * BURST
    first, last = decided.score[:, :100].mean(axis=1), decided.score[:, -100:].mean(axis=1)
    assert (last > 0.99 * first).all()
    # though by now a tenth of all rows were like it: those before it was one are counted, of few rows a large share
    assert decided.risk.min() > (900.0 if WITHOUT_JIT else 980.0)


def test_a_stream_that_has_changed_is_learned_after_all() -> None:
    state = trained()
    rows = 2 * gate.RING_ROWS + (500 if WITHOUT_JIT else 4_000)
    before = learned(state)
    decided = step(SPEC, state, batch(usual(rows, 2) + 25.0, USUAL))
    assert learned(state) - before > 0.5 * (rows - gate.RING_ROWS / 2)
    assert decided.risk[:50].min() > 950.0
    assert np.median(decided.risk[-300:]) < 900.0


def test_the_ring_counts_what_it_holds() -> None:
    arrays = gate.new_arrays()
    arrays["counter"][gate.THRESHOLD] = 10
    random = np.random.RandomState(3)
    for _ in range(5):
        bins = random.randint(0, 20, 700)
        late = random.random_sample(700) < 0.2
        passed = gate.pass_through(arrays, bins, late)
        assert not passed.taken[late].any()
        assert not passed.burst[late].any()
        assert (bins[passed.burst] > 10).all()
        assert passed.taken[(bins <= 10) & ~late].all()
        assert arrays["counter"][gate.EXCEEDING] == np.count_nonzero(arrays["ring"])
    assert arrays["counter"][gate.COUNTED] == arrays["counts"].sum()


def bursts(exceeds: np.ndarray) -> tuple[np.ndarray, gate.Arrays]:
    """Which of the rows belong to a burst, those that exceed the quantile given."""
    arrays = gate.new_arrays()
    arrays["counter"][gate.THRESHOLD] = 10
    bins = np.where(exceeds, 20, 0)
    return gate.pass_through(arrays, bins, np.zeros(len(bins), np.bool_)).burst, arrays


def test_rows_belong_to_a_burst_where_more_exceed_than_should() -> None:
    ring = gate.RING_ROWS
    exceeds = np.zeros(9 * ring, np.bool_)
    exceeds[:ring:100] = True  # one in a hundred, as should
    exceeds[ring : ring + 300] = True
    exceeds[4 * ring :] = True  # a stream that has changed
    burst, arrays = bursts(exceeds)
    assert not burst[:ring].any()
    assert 200 < np.count_nonzero(burst[ring : ring + 300]) < 260
    assert burst[4 * ring + 250 : 4 * ring + gate.OPEN_ROWS].all()
    assert not burst[4 * ring + gate.OPEN_ROWS + 250 :].any()
    assert arrays["counts"].sum() == len(exceeds) - np.count_nonzero(burst)


def test_what_lasts_is_no_burst() -> None:
    """One row in twelve is odd from now on: a burst as long as it may be an attack, then counted among the usual."""
    exceeds = np.random.RandomState(1).random_sample(4 * gate.LATELY_ROWS) < 1 / 12
    burst, arrays = bursts(exceeds)
    begins, ends = gate.RING_ROWS, gate.LATELY_ROWS
    np.testing.assert_array_equal(burst[begins:ends], exceeds[begins:ends])
    assert not burst[2 * ends :].any()
    assert arrays["lately"][0] > 0.05


def test_after_a_change_scales_remember_a_quarter_of_what_came_since() -> None:
    rows = 2 * gate.LATELY_ROWS
    arrays = gate.new_arrays()
    arrays["counter"][gate.THRESHOLD] = 10

    def memory_rows(exceeds: np.ndarray) -> np.ndarray:
        bins = np.where(exceeds, 20, 0)
        return gate.pass_through(arrays, bins, np.zeros(len(bins), np.bool_)).memory_rows

    attack = np.arange(rows) < gate.RING_ROWS
    assert memory_rows(attack).min() >= gate.UNCHANGED_ROWS // gate.SINCE_CHANGE
    assert memory_rows(np.arange(rows) < 3 * gate.RING_ROWS)[3 * gate.RING_ROWS] == gate.LATELY_ROWS
    since = memory_rows(np.zeros(8 * gate.LATELY_ROWS, np.bool_))
    assert since[0] == gate.LATELY_ROWS
    assert since[-1] - since[-1 - 4_000] == 4_000 // gate.SINCE_CHANGE


def test_a_slow_rise_is_no_burst() -> None:
    """In the end one row in eight exceeds the quantile, but never twice as many as lately."""
    random = np.random.RandomState(5)
    rows = 20 * gate.LATELY_ROWS
    burst, _ = bursts(random.random_sample(rows) < np.linspace(0.01, 0.125, rows))
    assert not burst.any()


def test_a_spec_without_history_holds_nothing_back() -> None:
    spec: Spec = SPEC
    state = new_state(spec)
    step(spec, state, batch(np.full((gate.COUNTED_MIN // 2, 2), 7.0), 0))
    assert state.gate["counter"][gate.HELD] == 0


def test_where_most_of_the_stream_has_changed_models_begin_anew() -> None:
    rows = gate.OPEN_ROWS + gate.RING_ROWS
    arrays = gate.new_arrays()
    arrays["counter"][gate.THRESHOLD] = 10

    def passed(exceeds: np.ndarray) -> gate.Passed:
        return gate.pass_through(arrays, np.where(exceeds, 20, 0), np.zeros(len(exceeds), np.bool_))

    sampled = passed(np.arange(rows) < gate.RING_ROWS).sample_rows  # an attack
    assert sampled.min() >= gate.UNCHANGED_ROWS // gate.SINCE_CHANGE
    assert not arrays["counter"][gate.RESTART]
    assert passed(np.ones(rows, np.bool_)).sample_rows[-1] == 0
    assert arrays["counter"][gate.RESTART]
    gate.turn_kernel(arrays["counter"], arrays["counts"])
    assert not arrays["counter"][gate.RESTART]
    sampled = passed(np.zeros(rows, np.bool_)).sample_rows
    assert sampled[-1] - sampled[-1 - 1_000] == 1_000 // gate.SINCE_CHANGE


@pytest.mark.skipif(WITHOUT_JIT, reason="a past of enough rows takes too long without the compiler")
def test_an_attack_that_opens_the_gate_does_not_hide_the_next() -> None:
    state, first = trained(), USUAL
    rows = gate.RING_ROWS * 3 // 5
    for seed in (1, 2):
        attack = usual(rows, seed) * 0.1 + 25.0
        decided = step(SPEC, state, batch(attack, first))
        assert np.median(decided.risk) > 960.0
        step(SPEC, state, batch(usual(3 * rows, seed + 5), first + rows))
        first += 4 * rows


@pytest.mark.skipif(WITHOUT_JIT, reason="as many rows as a change takes need the compiler")
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_cuts_in_a_change_and_after_it_change_nothing(share: float) -> None:
    rows = 2 * gate.LATELY_ROWS
    values = usual(rows, 7) + 25.0 * (np.random.RandomState(8).random_sample((rows, 1)) < share)
    decided, states = [], []
    for cuts in ([], [1, 4_100, 8_192, 8_203, 9_999, rows - 1]):
        state, risks = trained(), []
        for start, stop in itertools.pairwise([0, *cuts, rows]):
            risks.append(step(SPEC, state, batch(values[start:stop], USUAL + start)).risk)
        assert share == 1.0 or 0 < state.gate["counter"][gate.SINCE] < gate.LATELY_ROWS
        decided.append(np.concatenate(risks))
        states.append(state)
    np.testing.assert_array_equal(*decided)
    for name in ("standing", "places", "tails", "sample"):
        np.testing.assert_array_equal(*(getattr(state, name) for state in states))
    np.testing.assert_array_equal(*(state.gate["counts"] for state in states))
