"""Whether journal, group and logs agree on where a task stands, so that it can go on from there.

==========  ============  ==========================================================================================
journal     group offset  then
==========  ============  ==========================================================================================
none        none          a new task: begins at the first record there is
none        Y             refuse: the state up to Y is unknown
X           X             restore, begin at X
X           none          restore, begin at X (groups that stood still for a week lose their offsets)
X           Y ≠ X         refuse: somebody moved the group (written under at_least_once: X, outputs may repeat)
==========  ============  ==========================================================================================

An input topic that was made anew since is refused too, by its id, for offsets alone might fit; so is a log that ends
before X.

With `rebuild`, what would be refused is folded anew from the first record there is, silently, up to the group's offset
(of a topic made anew nothing: none of it was decided, so a new state begins at its first record); labels by event time,
as `replay` says, up to where the journal stands. Where it stands nowhere, those are folded that the transactions have
reached, and the others left to come in as new ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from detector.kafka import journal
from detector.kafka.errors import ConfigurationRefused, HistoryLost
from detector.kafka.journal import JournalRecord
from detector.kafka.outbox import Ledger

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Settled:
    """What is committed for one task, once no transaction on it is open.

    `low`, `end`: first offset that there is, and the next one to be; `labels_low`, `labels_end` of the labels, None
    where none are read.
    """

    committed: int | None
    record: JournalRecord | None
    low: int
    end: int
    labels_low: int | None = None
    labels_end: int | None = None


def agreed(ledger: Ledger, partition: int, settled: Settled, record: JournalRecord) -> int:
    """The offset to begin at, per the table. Raises ConfigurationRefused, HistoryLost."""
    if record.state_fingerprint != ledger.state_fingerprint:
        raise ConfigurationRefused(
            f"expected a configuration of state fingerprint {record.state_fingerprint}, as the state of partition "
            f"{partition} has, found {ledger.state_fingerprint}: {changed(ledger, record)} changed since. "
            "Start once with --rebuild to fold the retained log anew (no alert is repeated), or "
            "begin anew with a new application_id and an alerts topic of its own"
        )
    if record.spec_fingerprint != ledger.spec_fingerprint:
        log.info(
            "the state fits; decisions are made under another spec fingerprint from here on",
            partition=partition,
            before=record.spec_fingerprint,
            now=ledger.spec_fingerprint,
        )
    if anew := made_anew(ledger, record):
        then = (
            "every transaction of a topic made anew is decided, from an empty state, under alert ids that may repeat "
            "those of the old one"
            if ledger.topic in anew
            else "the transactions that there are, none of which is decided again, are folded with the labels of the "
            "new topic"
        )
        raise HistoryLost(
            f"expected the very topic {' and '.join(anew)} of which partition {partition} was read, found another of "
            "the same name, made since: its offsets begin anew, and what the state was made of is gone. Start once "
            f"with --rebuild: {then}"
        )
    offset = record.inputs.get(journal.input_name(ledger.topic, partition))
    if offset is None:
        raise ConfigurationRefused(
            f"expected the journal {ledger.journal_topic} to speak of topic {ledger.topic}, found "
            f"{sorted(record.inputs)}; put topics.transactions back, or take a new application_id"
        )
    topics = (ledger.topic, ledger.labels_topic)
    ours = {journal.input_name(topic, partition) for topic in topics if topic is not None}
    if record.inputs.keys() - ours:
        raise ConfigurationRefused(
            f"expected the journal {ledger.journal_topic} to speak of {sorted(ours)}, found {sorted(record.inputs)}: "
            "put labels.enabled and topics.labels back, or start once with --rebuild to fold the retained log anew"
        )
    moved = settled.committed is not None and settled.committed != offset
    if moved and record.guarantee == "exactly_once":
        raise ConfigurationRefused(
            f"expected the group's offset of {ledger.topic} partition {partition} to be {offset}, as in the journal, "
            f"found {settled.committed}: it was moved from outside. Move it back, or start with --rebuild to go on "
            "from there; what is read again is decided and published again, with the same ids"
        )
    return offset


def changed(ledger: Ledger, record: JournalRecord) -> str:
    """What of the configuration is not what it was when the state was made, as far as the record tells."""
    names = [*ledger.state_parts, *(name for name in record.state_parts if name not in ledger.state_parts)]
    found = [name for name in names if record.state_parts.get(name) != ledger.state_parts.get(name)]
    if not record.state_parts or not found:
        return "the detector's version, entities, features, models, labels or columns"
    return " and ".join(found)


def made_anew(ledger: Ledger, record: JournalRecord) -> list[str]:
    """Input topics that are no longer those that the journal speaks of."""
    now = ledger.topic_ids
    return sorted(name.rpartition("/")[2] for name, one in record.topic_ids.items() if now.get(name, one) != one)


def refuse_unknown(ledger: Ledger, partition: int, settled: Settled) -> None:
    """Raises ConfigurationRefused where a task without a journal record is not a new one."""
    if settled.committed is not None:
        raise ConfigurationRefused(
            f"expected a journal record for partition {partition} on {ledger.journal_topic}, since the group has "
            f"committed offset {settled.committed}, found none: was the topic deleted? Start with --rebuild to fold "
            "the retained log anew, or take a new application_id"
        )


def refuse_short(topic: str, partition: int, read: int, end: int) -> None:
    """Raises HistoryLost where a log ends before what was read of it: to read that again would be to wait for ever."""
    if end < read:
        raise HistoryLost(
            f"expected {topic} partition {partition}, of which everything below offset {read} was read, to reach that "
            f"far, found that it ends at {end}: its newest records were lost. Start with --rebuild to fold what is "
            "left anew, and go on from its end; or with a new application_id to decide all that it holds again"
        )


def refuse_cuts_lost(partition: int, record: JournalRecord) -> None:
    """Raises HistoryLost where the snapshot cannot be used, and the journal tells of the cuts since it alone."""
    snapshot = record.snapshot
    if snapshot is not None and snapshot.labels_offset not in (None, record.labels_origin):
        raise HistoryLost(
            f"expected the snapshot of partition {partition} to be whole and readable, found that it is not (see "
            "above): where its labels were folded in is noted nowhere else. Start with --rebuild to fold the retained "
            "logs anew (no alert is repeated)"
        )
