"""What journal, group and logs may say of a task, and what is refused, with the remedy in the message."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from detector.kafka import agreement
from detector.kafka.agreement import Settled
from detector.kafka.errors import ConfigurationRefused, HistoryLost
from detector.kafka.journal import JournalRecord
from detector.kafka.outbox import Ledger

LEDGER = Ledger(
    "payments", "app.journal", "app.snapshots", "spec-1", "state-1", "exactly_once", None, {"here/payments": "id-1"}
)
RECORD = JournalRecord(
    version=1,
    task=2,
    commit=9,
    inputs={"payments-2": 700},
    origin_offset=0,
    snapshot=None,
    state_fingerprint="state-1",
    spec_fingerprint="spec-1",
    guarantee="exactly_once",
    topic_ids={"here/payments": "id-1"},
)


def settled(committed: int | None) -> Settled:
    return Settled(committed, RECORD, 0, 900)


@pytest.mark.parametrize("committed", [700, None])
def test_where_all_agree_the_journal_is_gone_by(committed: int | None) -> None:
    assert agreement.agreed(LEDGER, 2, settled(committed), RECORD) == 700


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"state_fingerprint": "state-2"}, "fingerprint state-2"),
        ({"inputs": {"others-2": 700}}, "others-2"),
        ({"inputs": {"payments-2": 700, "labels-2": 5}}, "labels.enabled"),
        ({"inputs": {"payments-2": 600}}, "found 700: it was moved"),
    ],
)
def test_what_does_not_agree_is_refused(changes: dict[str, object], found: str) -> None:
    record = msgspec.structs.replace(RECORD, **changes)
    with pytest.raises(ConfigurationRefused, match=found):
        agreement.agreed(LEDGER, 2, settled(700), record)


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ({}, "the detector's version, entities, features, models, labels or columns changed since"),
        ({"seed": "1", "models": "b"}, "found state-1: models changed since"),
        ({"seed": "2", "models": "b", "labels": "c"}, "found state-1: seed and models and labels changed since"),
    ],
    ids=["not_recorded", "one", "several"],
)
def test_a_refusal_names_what_changed(before: dict[str, str], said: str) -> None:
    ledger = replace(LEDGER, state_parts={"seed": "1", "models": "a"})
    record = msgspec.structs.replace(RECORD, state_fingerprint="state-2", state_parts=before)
    with pytest.raises(ConfigurationRefused, match=said):
        agreement.agreed(ledger, 2, settled(700), record)


def test_at_least_once_the_journal_may_be_ahead_of_the_group() -> None:
    record = msgspec.structs.replace(RECORD, guarantee="at_least_once")
    assert agreement.agreed(LEDGER, 2, settled(650), record) == 700


def test_a_topic_made_anew_is_refused_though_its_offsets_fit() -> None:
    record = msgspec.structs.replace(RECORD, topic_ids={"here/payments": "id-0"})
    assert agreement.made_anew(LEDGER, record) == ["payments"]
    with pytest.raises(HistoryLost, match=r"topic payments .* partition 2 .*--rebuild: every .* is decided, from an"):
        agreement.agreed(LEDGER, 2, settled(700), record)


def test_labels_made_anew_are_refused_with_what_becomes_of_the_transactions() -> None:
    ledger = replace(LEDGER, labels_topic="labels", topic_ids=LEDGER.topic_ids | {"here/labels": "id-3"})
    record = msgspec.structs.replace(RECORD, topic_ids=RECORD.topic_ids | {"here/labels": "id-2"})
    with pytest.raises(HistoryLost, match=r"topic labels .*--rebuild: the transactions .* none .* decided again"):
        agreement.agreed(ledger, 2, settled(700), record)


@pytest.mark.parametrize("ids", [{}, {"there/payments": "id-0"}], ids=["none_known", "copied_from_another_cluster"])
def test_ids_that_say_nothing_are_passed_over(ids: dict[str, str]) -> None:
    record = msgspec.structs.replace(RECORD, topic_ids=ids)
    assert agreement.agreed(LEDGER, 2, settled(700), record) == 700


def test_a_log_that_ends_before_what_was_read_is_refused() -> None:
    agreement.refuse_short("payments", 2, 700, 700)
    with pytest.raises(HistoryLost, match=r"below offset 700 .* ends at 699"):
        agreement.refuse_short("payments", 2, 700, 699)
