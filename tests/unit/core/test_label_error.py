"""How wrong the supervised head is about labels that it has not learned: what drift of the labels is told by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from detector.core.batch import TransactionBatch
from detector.core.labels import LabelBatch, learn_labels
from detector.core.operator import step
from detector.core.spec import Labels
from detector.core.state import new_state, saved_arrays
from tests.streams import CARD_ONLY, seeded_codes, stream

SPEC = replace(CARD_ONLY, labels=Labels())


def test_the_error_is_that_of_a_head_which_has_not_learned_the_label() -> None:
    batch = stream(SPEC, seeded_codes(5, 400, True))
    batch.identity = np.arange(1, len(batch) + 1, dtype=np.uint64) << np.uint64(20)
    state = new_state(SPEC)
    step(SPEC, state, batch)
    fraud = batch.amount > 40.0
    labels = LabelBatch(batch.identity, fraud, np.full(len(batch), batch.event_time_ms.max()))
    assert len(learn_labels(SPEC, state, labels.rows(0, 100)).error) == 0  # nothing was learned before
    step(SPEC, state, fresh(400))  # a head is fitted before the first decision after its labels
    before = learn_labels(SPEC, state, labels.rows(100, 250)).error
    assert before.shape == (150,)
    assert ((before >= 0.0) & (before <= 1.0)).all()
    step(SPEC, state, fresh(401))
    later = learn_labels(SPEC, state, labels.rows(250, 400)).error
    assert later.mean() < before.mean() < 0.5
    again = learn_labels(SPEC, state, labels)  # duplicates have no error of their own
    assert again.duplicate == len(batch)
    assert len(again.error) == 0
    flipped = LabelBatch(labels.identity[:9], ~labels.is_fraud[:9], labels.event_time_ms[:9])
    assert len(learn_labels(SPEC, state, flipped).error) == 0


def fresh(number: int) -> TransactionBatch:
    """One more row."""
    batch = stream(SPEC, seeded_codes(5, number + 1, True)).rows(number, number + 1)
    batch.identity = np.array([number + 1], np.uint64) << np.uint64(20)
    return batch


def test_an_orphan_has_none() -> None:
    state = new_state(SPEC)
    before = {name: array.copy() for name, array in saved_arrays(state).items()}
    told = learn_labels(SPEC, state, LabelBatch(np.array([5], np.uint64), np.array([True]), np.array([1_000])))
    assert (told.orphan, len(told.error)) == (1, 0)
    assert before.keys() == saved_arrays(state).keys()
