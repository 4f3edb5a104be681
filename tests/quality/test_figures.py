"""The bench's figures on rows small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pytest

from detector.core.budget import DAY_MS
from detector.core.spec import Decision, Spec, parse_feature
from detector.lab.figures import card_precision, top_of_each_day
from tests.quality.bench.figures import compromises, delays_h, figures
from tests.quality.bench.late_labels import logistic_regression
from tests.quality.bench.ours import LateLabels
from tests.quality.bench.peers import filled, to_range
from tests.quality.bench.sets import BOOK_WEEK_MS, ROW_EVERY_MS, SETS, Loaded, load_set

FDH = next(source for source in SETS if source.name == "fdh")


def loaded(time_ms: np.ndarray, fraud: np.ndarray, budget: int = 1, **extra: np.ndarray) -> Loaded:
    spec = Spec((), (), (), (parse_feature("amount"),), (), Decision(alerts_per_day=budget))
    return Loaded(FDH, spec, spec, [], fraud.astype(bool), time_ms.astype(np.int64), extra)


def test_the_top_of_a_day_is_that_days_and_of_equals_the_earlier() -> None:
    day = np.array([0, 0, 0, 1, 1, 2])
    score = np.array([1.0, 3.0, 2.0, 5.0, 5.0, 0.0])
    assert top_of_each_day(score, day, 1).tolist() == [False, True, False, True, False, True]
    assert top_of_each_day(score, day, 2).tolist() == [False, True, True, True, True, True]


def test_delay_runs_from_the_first_fraud_of_each_compromise() -> None:
    hours = np.array([0, 5, 24 * 40, 24 * 40 + 7, 3], np.int64)
    entity = np.array([1, 1, 1, 1, 2], np.int64)
    flagged = np.array([False, True, False, False, True])
    assert delays_h(entity, hours * 3_600_000, flagged, 28).tolist() == [5.0, np.inf, 0.0]
    assert delays_h(entity[:0], hours[:0], flagged[:0], 28).tolist() == []


def test_compromises_count_the_frauds_of_their_scenario_only() -> None:
    data = loaded(
        np.arange(4) * 3_600_000, np.ones(4),
        scenario=np.array([3, 1, 3, 2]), card=np.array([7, 7, 7, 8]), terminal=np.array([1, 2, 3, 4]),
    )  # fmt: skip
    found = compromises(data, np.array([False, True, True, False]), slice(0, 4))
    assert found == {"card_caught": 1.0, "card_delay_h": 2.0, "terminal_caught": 0.0, "terminal_delay_h": np.inf}


def test_card_precision_looks_at_cards_once_found_no_more() -> None:
    day = np.array([0, 0, 0, 1, 1, 1])
    card = np.array([1, 1, 2, 1, 2, 3])
    fraud = np.array([True, False, False, True, False, True])
    score = np.array([0.1, 0.9, 0.5, 0.9, 0.2, 0.8])
    # Day 0: card 1 is highest, by its other row, and is defrauded. Day 1 without it: card 3.
    assert card_precision(day, card, fraud, score, 1) == 1.0
    assert card_precision(day, card, fraud, score, 2) == pytest.approx((1 / 2 + 1 / 2) / 2)


def test_the_books_week_leaves_out_cards_known_compromised() -> None:
    begin = BOOK_WEEK_MS[0]
    days = np.array([-60, -13, -8, 0, 0, 0, 1, 8])
    card = np.array([9, 1, 2, 1, 2, 3, 4, 5])
    fraud = np.array([1, 1, 1, 1, 1, 1, 0, 0])
    data = loaded(begin + days * DAY_MS, fraud, scenario=np.zeros(8), card=card, terminal=card)
    score = np.array([0, 0, 0, 0.0, 0.1, 0.8, 0.5, 0])
    found = figures(data, score, slice(0, 8))
    assert (found["week_auc"], found["week_ap"]) == (1.0, 1.0), "of the week only cards 3 and 4 are asked about"
    assert found["card_precision_100"] == pytest.approx(0.01 / 2)
    assert "week_auc" not in figures(data, score[:6], slice(0, 6)), "rows that end within the week say nothing of it"


def test_what_peers_see_depends_on_earlier_rows_only() -> None:
    rows = np.random.RandomState(0).normal(5.0, 3.0, (200, 3))
    rows[::7, 1] = np.nan
    other = rows.copy()
    other[150:] *= 100.0
    done = to_range(filled(rows))
    assert np.isfinite(done).all()
    assert np.array_equal(done[:150], to_range(filled(other))[:150])
    assert filled(rows)[7, 1] == pytest.approx(np.nanmean(rows[:7, 1]))


def test_a_label_changes_nothing_before_it_arrives() -> None:
    random = np.random.RandomState(1)
    rows, hour = random.normal(0.0, 1.0, (300, 2)), 3_600_000
    fraud, time_ms = rows[:, 0] > 1.0, np.arange(300) * hour
    score, _ = logistic_regression(rows, fraud, time_ms, 50 * hour)
    assert (score[:50] == 0.5).all()
    other, _ = logistic_regression(rows, np.where(time_ms < 100 * hour, fraud, ~fraud), time_ms, 50 * hour)
    assert np.array_equal(score[:150], other[:150])
    assert not np.array_equal(score[150:], other[150:])


def test_labels_are_told_once_and_after_their_delay() -> None:
    source = next(source for source in SETS if source.name == "burst attacks")
    data = load_set(source, 1_000)
    labels, begin_ms = LateLabels(data, ROW_EVERY_MS * 10), int(data.event_time_ms[0])
    assert len(labels.until(begin_ms + ROW_EVERY_MS * 9)) == 0
    some = labels.until(begin_ms + ROW_EVERY_MS * 12)
    assert some.identity.tolist() == data.batches[0].identity[:3].tolist()
    assert len(labels.until(begin_ms + ROW_EVERY_MS * 12)) == 0
    rest = labels.until(begin_ms + ROW_EVERY_MS * 2_000)
    assert np.concatenate([some.is_fraud, rest.is_fraud]).tolist() == data.fraud.tolist()
