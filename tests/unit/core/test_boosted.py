"""The boosted head: when a fit starts, when its trees take over, and that restarts in between change nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detector.codec.snapshot import restore, snapshot
from detector.core import boosted, head
from detector.core.labels import learn_labels
from detector.core.operator import step
from detector.core.spec import Labels, Spec, SpecError
from detector.core.state import TaskState, gauges, new_state
from tests.streams import HOUR, START_MS, lines, state_bytes
from tests.unit.core.test_labels import SPEC, labels, rows

ROWS = 900
WITH_TREES = replace(
    SPEC,
    labels=Labels(
        pending_rows_max=400,
        boosted_trainer="tests.labelled.stumps",
        boosted_trees=3,
        boosted_depth=2,
        boosted_delay_rows=70,
    ),
)


@pytest.fixture(autouse=True)
def _small_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boosted, "FIRST_FIT_ROWS", 100)
    monkeypatch.setattr(boosted, "FIT_FRAUDS_MIN", 3)


def fold(
    spec: Spec, state: TaskState, start: int, stop: int, cut: int, restart_every: int = 0, portion: int = 50
) -> tuple[TaskState, list[str]]:
    """Rows start..stop in batches of `cut`, labels after each fifty by portions; a restart now and then."""
    decided: list[str] = []
    for first in range(start, stop, 50):
        for place in range(first, first + 50, cut):
            number = range(place, min(place + cut, first + 50))
            batch = rows(
                [START_MS + HOUR * one for one in number],
                [one % 5 + 1 for one in number],
                place + 1,
                [float(one % 9 + 40 * (one % 10 == 3)) for one in number],
            )
            decided += lines(step(spec, state, batch))
            if restart_every and place % restart_every == 0:
                state = restore(spec, snapshot(spec, state))
        told = [(one + 1, one % 10 == 3, START_MS + HOUR * (first + 50)) for one in range(first, first + 50)]
        for place in range(0, len(told), portion):
            learn_labels(spec, state, labels(told[place : place + portion]))
    return state, decided


def test_cuts_and_restarts_while_a_fit_runs_change_nothing() -> None:
    whole, decided = fold(WITH_TREES, new_state(WITH_TREES), 0, ROWS, 50)
    assert gauges(WITH_TREES, whole)["boosted_swaps"] >= 3
    for cut, restart_every in ((1, 0), (7, 0), (50, 50), (10, 30)):
        state, found = fold(WITH_TREES, new_state(WITH_TREES), 0, ROWS, cut, restart_every)
        assert found == decided
        assert state_bytes(WITH_TREES, state) == state_bytes(WITH_TREES, whole)


def test_a_fit_in_flight_is_begun_again_under_another_version_of_its_trainer() -> None:
    before, after = (replace(WITH_TREES, trainer_version=version) for version in ("1", "2"))
    state, _ = fold(before, new_state(before), 0, 150, 50)
    assert state.labels.boosted.arrays["counter"][boosted.DUE] > 150
    upgraded = restore(after, snapshot(before, state))
    for one, spec in ((state, before), (upgraded, after)):
        fold(spec, one, 150, 300, 50)
    assert gauges(after, upgraded)["boosted_version"] == gauges(before, state)["boosted_version"] > 0


def test_by_what_portions_labels_come_between_two_rows_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boosted, "FIT_FRAUDS_MIN", 7)  # reached within the labels that come at row 100
    whole, decided = fold(WITH_TREES, new_state(WITH_TREES), 0, 400, 50)
    assert gauges(WITH_TREES, whole)["boosted_swaps"] >= 1
    state, found = fold(WITH_TREES, new_state(WITH_TREES), 0, 400, 50, portion=30)
    assert found == decided
    assert state_bytes(WITH_TREES, state) == state_bytes(WITH_TREES, whole)


def test_trees_take_over_at_their_row_and_not_before() -> None:
    without = replace(WITH_TREES, labels=replace(WITH_TREES.labels, boosted_trainer=""))
    _, decided = fold(WITH_TREES, new_state(WITH_TREES), 0, ROWS, 25)
    _, plain = fold(without, new_state(without), 0, ROWS, 25)
    start = 100  # the first labels that are folded in after so many rows begin the first fit
    due = start + WITH_TREES.labels.boosted_delay_rows
    differs = next(row for row in range(ROWS) if decided[row].split()[1] != plain[row].split()[1])
    assert due <= differs <= due + 60
    assert decided[:due] == plain[:due]


def test_the_version_is_a_hash_of_the_trees() -> None:
    one, _ = fold(WITH_TREES, new_state(WITH_TREES), 0, 400, 50)
    other, _ = fold(WITH_TREES, new_state(WITH_TREES), 0, 400, 50)
    more, _ = fold(WITH_TREES, other, 400, ROWS, 50)
    assert gauges(WITH_TREES, one)["boosted_version"] != gauges(WITH_TREES, more)["boosted_version"]


def test_a_trainer_that_is_not_there_is_told() -> None:
    spec = replace(SPEC, labels=Labels(boosted_trainer="tests.labelled.nothing"))
    with pytest.raises(SpecError, match="expected a trainer that can be imported"):
        new_state(spec)


def test_xgboost_trees_score_as_xgboost_does() -> None:
    xgboost = pytest.importorskip("xgboost", reason="the extra `boost` is not installed")
    from detector.adapters import boosting

    random = np.random.RandomState(5)
    inputs = random.normal(size=(3_000, 6)).astype(np.float32)
    inputs[random.random_sample(inputs.shape) < 0.1] = np.nan
    is_fraud = (np.nan_to_num(inputs[:, 0]) > 1.0) ^ (random.random_sample(3_000) < 0.05)
    trees = boosting.train(inputs, is_fraud, 20, 4)
    margin = np.zeros(3_000)
    boosted.margins_kernel(inputs, *trees, margin)
    settings = {"objective": "binary:logistic", "eta": boosting.LEARNING_RATE, "max_depth": 4, "tree_method": "hist",
                "max_bin": boosting.BINS, "colsample_bytree": boosting.INPUTS_A_TREE,
                "nthread": 1, "seed": 0}  # fmt: skip
    data = xgboost.DMatrix(inputs, is_fraud.astype(np.float32))
    expected = xgboost.train(settings, data, 20).predict(data, output_margin=True)
    apart = margin - expected
    np.testing.assert_allclose(apart, apart[0], atol=1e-5)  # but for the intercept, which changes no order
    assert np.corrcoef(margin, is_fraud)[0, 1] > 0.5


def test_credits_add_up_to_what_both_heads_say_less_what_is_usual() -> None:
    state, _ = fold(WITH_TREES, new_state(WITH_TREES), 0, ROWS, 50)
    own = state.labels
    assert own is not None
    assert own.boosted.weight > 0.0
    inputs = own.pending.inputs[: head.USUAL_ROWS]
    found = [head.credits(own.head, own.boosted, inputs[row : row + 1]) for row in range(len(inputs))]
    said = head.logits(own.head, own.boosted, inputs)
    np.testing.assert_allclose([given.sum() + base for given, base in found], said, rtol=1e-9)
    assert len({base for _, base in found}) == 1
    assert min(said) < found[0][1] < max(said)
