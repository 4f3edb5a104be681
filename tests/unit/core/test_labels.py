"""Late labels: what they do to counts, features, the pending store and the head; first the plain, then the odd ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core import head
from detector.core.batch import TransactionBatch
from detector.core.confirmed import PRIOR_LABELS
from detector.core.defaults import default_model_features
from detector.core.labels import LabelBatch, LabelTally, label_gauges, learn_labels
from detector.core.operator import step
from detector.core.spec import Decision, Entity, HalfSpaceTrees, Labels, Spec, parse_feature
from detector.core.state import TaskState, gauges, new_state
from tests.streams import DAY, HOUR, START_MS, WITHOUT_JIT, examples, features_of

NAMES = ("amount", "card.fraud_count.1d", "card.fraud_rate.1d", "card.fraud_count.7d", "card.fraud_rate.30d")
SPEC = Spec(
    keys=("card",),
    numeric=(),
    entities=(Entity("card", "card"),),
    features=tuple(parse_feature(name) for name in NAMES),
    members=(HalfSpaceTrees(3, 3, 64),),
    decision=Decision(None),
    labels=Labels(pending_rows_max=64),
)


def rows(time_ms: list[int], card: list[int], first: int = 1, amount: list[float] | None = None) -> TransactionBatch:
    """Transactions named `first`, `first` + 1 …"""
    n = len(time_ms)
    nowhere = np.full(n, np.nan)
    return TransactionBatch(
        np.arange(first, first + n),
        np.array(time_ms, np.int64),
        np.full(n, 10.0) if amount is None else np.array(amount),
        np.array([card], np.uint64) << np.uint64(20),
        nowhere,
        nowhere,
        np.empty((0, n)),
        np.arange(first, first + n).astype(np.uint64) << np.uint64(33),
    )


def labels(told: list[tuple[int, bool, int]]) -> LabelBatch:
    """(transaction, fraud, arrival in ms)."""
    number, fraud, time_ms = zip(*told, strict=True)
    return LabelBatch(
        np.array(number, np.uint64) << np.uint64(33), np.array(fraud, np.bool_), np.array(time_ms, np.int64)
    )


def seen(state: TaskState, time_ms: int, card: int, number: int = 1_000_000) -> dict[str, float]:
    """The features of a transaction of `card` at that time."""
    found = step(SPEC, state, rows([time_ms], [card], number)).features[0]
    return dict(zip(NAMES, found.tolist(), strict=True))


def test_a_label_counts_for_its_entity_from_its_arrival_on() -> None:
    state = new_state(SPEC)
    step(SPEC, state, rows([START_MS, START_MS + 1], [1, 2]))
    arrival = START_MS + 3 * HOUR
    assert learn_labels(SPEC, state, labels([(1, True, arrival), (2, False, arrival)])) == LabelTally(learned=2)
    before = seen(state, arrival - 2 * HOUR, 1)
    assert before["card.fraud_count.7d"] == 0.0
    after = seen(state, arrival + HOUR, 1, 7)
    assert (after["card.fraud_count.1d"], after["card.fraud_count.7d"]) == (1.0, 1.0)
    assert after["card.fraud_rate.1d"] == (1 + PRIOR_LABELS * 0.5) / (1 + PRIOR_LABELS)
    genuine = seen(state, arrival + HOUR, 2, 8)
    assert genuine["card.fraud_count.7d"] == 0.0
    assert genuine["card.fraud_rate.1d"] == PRIOR_LABELS * 0.5 / (1 + PRIOR_LABELS)
    assert seen(state, arrival + HOUR, 3, 9)["card.fraud_rate.30d"] == 0.5  # never labelled: the stream's own rate
    assert np.isnan(seen(state, arrival + HOUR, 0, 10)["card.fraud_count.1d"])
    later = seen(state, arrival + 3 * DAY, 1, 11)
    assert (later["card.fraud_count.1d"], later["card.fraud_count.7d"]) == (0.0, 1.0)


def test_duplicates_and_orphans_change_nothing() -> None:
    state = new_state(SPEC)
    step(SPEC, state, rows([START_MS], [1]))
    told = labels([(1, True, START_MS + HOUR), (1, True, START_MS + HOUR), (99, True, START_MS + HOUR)])
    assert learn_labels(SPEC, state, told) == LabelTally(learned=1, duplicate=1, orphan=1)
    assert learn_labels(SPEC, state, told) == LabelTally(duplicate=2, orphan=1)
    assert seen(state, START_MS + 2 * HOUR, 1)["card.fraud_count.1d"] == 1.0
    figures = gauges(SPEC, state)
    assert figures["labels_duplicate"] == 3.0
    assert figures["labels_orphan"] == 2.0
    assert figures["labelled_frauds"] == 1.0


def test_a_label_older_than_the_watermark_is_late_and_its_delay_is_by_its_own_time() -> None:
    state = new_state(SPEC)
    step(SPEC, state, rows([START_MS, START_MS + HOUR, START_MS + 9 * HOUR], [1, 1, 1]))
    watermark = START_MS + 9 * HOUR - SPEC.allowed_lateness_ms
    told = [(1, True, watermark - 1), (2, False, watermark), (3, False, START_MS + 11 * HOUR), (99, True, START_MS)]
    tally = learn_labels(SPEC, state, labels(told))
    assert tally == LabelTally(learned=3, orphan=1, late=1)
    arrived_s = (np.array([watermark - 1, watermark, START_MS + 11 * HOUR]) - START_MS) / 1e3
    assert (tally.delay_s == arrived_s - np.array([0.0, 3_600.0, 9 * 3_600.0])).all()
    again = learn_labels(SPEC, state, labels([(1, True, START_MS), (2, True, START_MS)]))
    assert again == LabelTally(duplicate=1, contradictory=1), "only what is learned arrives"
    assert len(again.delay_s) == 0
    assert (tally + tally).late == 2


def test_the_last_word_wins() -> None:
    state = new_state(SPEC)
    step(SPEC, state, rows([START_MS, START_MS, START_MS], [1, 1, 1]))
    learn_labels(SPEC, state, labels([(1, True, START_MS + HOUR), (2, True, START_MS + 9 * HOUR)]))
    tally = learn_labels(SPEC, state, labels([(1, False, START_MS + 20 * HOUR)]))
    assert tally == LabelTally(contradictory=1)
    assert seen(state, START_MS + 21 * HOUR, 1)["card.fraud_count.1d"] == 1.0
    # what is corrected is the count of the first label's hour, so that both windows stay right when it has left one
    late = seen(state, START_MS + 28 * HOUR, 1, 7)
    assert (late["card.fraud_count.1d"], late["card.fraud_count.7d"]) == (1.0, 1.0)
    assert learn_labels(SPEC, state, labels([(1, True, START_MS + 29 * HOUR)])) == LabelTally(contradictory=1)
    again = seen(state, START_MS + 30 * HOUR, 1, 8)
    assert (again["card.fraud_count.1d"], again["card.fraud_count.7d"]) == (1.0, 2.0)
    assert label_gauges(SPEC, state.labels)["labelled_frauds"] == 2.0


def test_a_row_that_left_the_store_is_an_orphan_and_a_repeated_name_is_the_newest_row() -> None:
    state = new_state(SPEC)
    step(SPEC, state, rows([START_MS] * 64, [1] * 64))
    assert learn_labels(SPEC, state, labels([(1, True, START_MS)])) == LabelTally(learned=1)
    step(SPEC, state, rows([START_MS], [2], 65))
    assert learn_labels(SPEC, state, labels([(1, True, START_MS), (2, True, START_MS)])) == LabelTally(
        learned=1, orphan=1
    )
    step(SPEC, state, rows([START_MS], [3], 64))  # the name of a row of card 1
    learn_labels(SPEC, state, labels([(64, True, START_MS)]))
    assert seen(state, START_MS + HOUR, 3)["card.fraud_count.1d"] == 1.0


def test_a_label_from_long_ago_counts_at_the_watermark() -> None:
    state = new_state(SPEC)
    step(SPEC, state, rows([START_MS, START_MS + 10 * DAY], [1, 2]))
    learn_labels(SPEC, state, labels([(1, True, START_MS + HOUR)]))
    assert seen(state, START_MS + 10 * DAY, 1)["card.fraud_count.1d"] == 1.0


def test_a_spec_without_labels_takes_none() -> None:

    plain = replace(SPEC, labels=None, features=SPEC.features[:1])
    with pytest.raises(ValueError, match=r"labels\.enabled"):
        learn_labels(plain, new_state(plain), labels([(1, True, START_MS)]))


def test_models_do_not_look_at_what_labels_tell() -> None:
    assert default_model_features(SPEC.features) == ("amount",)
    only_labels = (*SPEC.features[1:], parse_feature("hour"))
    assert default_model_features(only_labels) == ("hour",)


def test_how_old_the_frauds_are_and_how_many_came_last_in_a_row() -> None:
    names = ("amount", "card.fraud_age.7d", "card.fraud_streak.7d", "card.fraud_streak.1h")
    spec = replace(SPEC, features=features_of(*names))
    state = new_state(spec)
    step(spec, state, rows([START_MS] * 6, [1] * 6, 1))

    def seen(after_ms: int, number: int) -> list[float]:
        return step(spec, state, rows([START_MS + after_ms], [1], number)).features[0, 1:].tolist()

    assert np.isnan(seen(0, 7)[0])
    for number, fraud, after in ((1, True, 1), (2, True, 2), (3, False, 3), (4, True, 4), (5, True, 5)):
        learn_labels(spec, state, labels([(number, fraud, START_MS + after * HOUR)]))
    assert seen(6 * HOUR, 8) == [5 * 3600.0, 2.0, 0.0]
    assert seen(5 * HOUR + HOUR // 2, 9) == [4.5 * 3600.0, 2.0, 1.0]
    learn_labels(spec, state, labels([(6, False, START_MS + 7 * HOUR)]))
    assert seen(8 * HOUR, 10) == [7 * 3600.0, 0.0, 0.0]
    assert np.isnan(seen(9 * DAY, 11)[0])


def test_the_head_takes_unlabelled_rows_for_genuine_where_frauds_alone_are_told() -> None:
    random = np.random.RandomState(5)
    spec = replace_labels()
    state = new_state(spec)
    fraud = random.random_sample(1_000) < 0.05
    amount = np.where(fraud, 500.0, random.uniform(5.0, 100.0, 1_000))
    step(spec, state, rows([START_MS] * 1_000, [1] * 1_000, 1, amount.tolist()))
    learn_labels(spec, state, labels([(int(row) + 1, True, START_MS) for row in np.flatnonzero(fraud)]))
    new = rows([START_MS + HOUR] * 3, [2] * 3, 2_000, [500.0, 50.0, 20.0])
    assert step(spec, state, new).risk.argmax() == 0
    assert state.labels is not None
    logit = head.logits(state.labels.head, state.labels.boosted, state.labels.pending.inputs[1_000:1_003])
    assert logit[0] > max(logit[1:]) + 3.0


@examples(100, 15)
@given(
    st.lists(st.tuples(st.integers(0, 5 * DAY), st.integers(0, 50 * HOUR), st.booleans()), max_size=60),
    st.lists(st.integers(0, 59), max_size=15),
)
def test_label_features_against_a_list(told: list[tuple[int, int, bool]], flips: list[int]) -> None:
    """One card: counts lie between those of the window and of one that is longer by a cell."""
    told = sorted(told)
    state = new_state(SPEC)
    truth: dict[int, tuple[int, bool]] = {}
    events = [(at, 0, number, fraud, delay) for number, (at, delay, fraud) in enumerate(told, 1)]
    events += [(at + delay, 1, number, fraud, 0) for number, (at, delay, fraud) in enumerate(told, 1)]
    newest = START_MS
    flipped = set(flips)
    for at, what, number, fraud, _ in sorted(events):
        if what == 0:
            newest = START_MS + at
            found = dict(zip(NAMES, step(SPEC, state, rows([newest], [1], number)).features[0].tolist(), strict=True))
            frauds = sum(is_fraud for _, is_fraud in truth.values())
            prior = frauds / len(truth) if truth else 0.0
            for window, days, cell_ms in (("1d", 1, HOUR), ("7d", 7, 6 * HOUR), ("30d", 30, 24 * HOUR)):
                inside = [one for when, one in truth.values() if newest - days * DAY + 1000 < when <= newest]
                around = [one for when, one in truth.values() if newest - days * DAY - cell_ms - 2000 < when <= newest]
                count, rate = found.get(f"card.fraud_count.{window}"), found.get(f"card.fraud_rate.{window}")
                if count is not None:
                    assert sum(inside) <= count <= sum(around)
                if rate is not None and inside == around:
                    assert rate == pytest.approx((sum(inside) + PRIOR_LABELS * prior) / (len(inside) + PRIOR_LABELS))
        else:
            arrival = max(START_MS + at, newest - SPEC.allowed_lateness_ms)
            tally = learn_labels(SPEC, state, labels([(number, fraud, START_MS + at)]))
            if number <= 64 and tally.learned:
                truth[number] = (arrival, fraud)
            if number in flipped and tally.learned:
                assert learn_labels(SPEC, state, labels([(number, not fraud, START_MS + at)])).contradictory == 1
                truth[number] = (arrival, not fraud)


@pytest.mark.skipif(WITHOUT_JIT, reason="six thousand rows take a minute and a half without")
def test_the_head_learns_what_labels_tell_and_weighs_by_frauds() -> None:
    """Frauds of ordinary amounts, which no anomaly sees: with labels they stand out, without they do not."""
    random = np.random.RandomState(3)
    n = 6_000
    fraud = random.random_sample(n) < 0.02
    amount = np.where(fraud, random.normal(50.0, 0.5, n), np.exp(random.normal(4.0, 0.6, n)))
    spec = replace_labels(pending_rows_max=4_096)
    risk = {}
    for told in (True, False):
        state = new_state(spec)
        found = []
        for start in range(0, n, 100):
            part = slice(start, start + 100)
            batch = rows(
                [START_MS + HOUR * start] * 100, random.randint(1, 9, 100).tolist(), start + 1, amount[part].tolist()
            )
            found.append(step(spec, state, batch).risk)
            if told:
                number = range(start + 1, start + 101)
                tell = [(one, bool(fraud[one - 1]), START_MS + HOUR * start) for one in number]
                learn_labels(spec, state, labels(tell))
        risk[told] = np.concatenate(found)[n // 2 :]
        weight = label_gauges(spec, state.labels)["head_weight"]
        assert weight == (pytest.approx(fraud.sum() / (fraud.sum() + 10.0)) if told else 0.0)
    late = fraud[n // 2 :]
    assert np.median(risk[True][late]) > 930.0  # they share a bin with a tenth of the genuine rows
    assert np.median(risk[False][late]) < 700.0


def replace_labels(**changes: float) -> Spec:
    return replace(SPEC, labels=Labels(**changes))


@pytest.mark.skipif(WITHOUT_JIT, reason="too slow without the JIT")
def test_an_alert_that_the_head_calls_for_says_so() -> None:
    spec = replace(SPEC, decision=Decision(None, alert_risk_min=900.0), labels=Labels(pending_rows_max=1_024))
    random = np.random.RandomState(0)
    reasons: dict[int, tuple[str, ...]] = {}
    state = new_state(spec)
    for first in range(0, 2_000, 50):
        number = np.arange(first, first + 50)
        time_ms, card = START_MS + HOUR // 10 * number, number % 40 + 1
        batch = rows(time_ms.tolist(), card.tolist(), first + 1, np.exp(random.normal(3.0, 0.5, 50)).tolist())
        decided = step(spec, state, batch)
        if first >= 1_000:
            reasons |= {
                int(card[row]): tuple(NAMES[one.feature] for one in told) for row, told in decided.reasons.items()
            }
        told = [(int(one) + 1, bool(one % 40 == 6), int(time_ms[-1])) for one in number]
        learn_labels(spec, state, labels(told))
    assert reasons[7][0].startswith("card.fraud_")  # its amounts are like all others
    assert len(reasons[7]) <= 2  # of many ways to say it two
    assert all(not name.startswith("card.fraud_") for card, told in reasons.items() if card != 7 for name in told)
