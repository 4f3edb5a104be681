"""The one recovery path: newest snapshot, then silent replay of the input up to the committed offset, labels folded in
where the journal says.

Law (restore ≡ replay): the state that comes out is the fold of the input from the task's first record to its committed
offset, as if nothing had happened. Start, crash, rebalance, aborted transaction: all come here.

A restore is a generator that the main loop advances one slice at a time, so that the group is polled meanwhile and the
other tasks go on. What the logs say decides; see `agreement`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any

import structlog
from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from detector.kafka import agreement, journal
from detector.kafka.agreement import Settled
from detector.kafka.engine import Engine
from detector.kafka.errors import ConfigurationRefused, HistoryLost
from detector.kafka.journal import JournalError, JournalRecord, SnapshotReference
from detector.kafka.outbox import Ledger
from detector.kafka.patience import Patience
from detector.kafka.reader import LogReader
from detector.kafka.replay import Replay, Slices
from detector.kafka.snapshots import Download
from detector.kafka.tasks import LabelHistory, Task

COMMITTED_TIMEOUT_S = 1.0
OFFSETS_TIMEOUT_S = 5.0
SETTLE_WAIT_S = 0.05
# A commit takes two offsets of the journal, its record and the transaction's marker.
JOURNAL_SPAN = 64
# Above any transaction.timeout.ms of ours, and the broker's own clock for ending such transactions.
HANGING_S = 90.0

log = structlog.get_logger(__name__)


class Restorer:
    """Makes the restores of one process. `rebuild`: fold the retained log anew, once for each task."""

    def __init__(
        self,
        engine: Engine,
        ledger: Ledger,
        consumer: Consumer,
        new_admin: Callable[[], AdminClient],
        reader_config: dict[str, Any],
        patience: Patience,
        rebuild: bool = False,
    ) -> None:
        self._engine, self._ledger, self._consumer = engine, ledger, consumer
        self._new_admin, self._admin = new_admin, new_admin()
        self._reader, self._patience = LogReader(reader_config, patience), patience
        self._rebuild = rebuild
        self._rebuilt_at_commit: dict[int, int] = {}

    def restore(self, task: Task) -> Slices:
        """Slices of work after which `task` is RUNNING. Raises HistoryLost, ConfigurationRefused, JournalError."""
        settled = yield from self._settled(task.partition)
        if self._rebuilds(task.partition, settled):
            yield from self._fold_anew(task, settled)
        elif settled.record is None:
            agreement.refuse_unknown(self._ledger, task.partition, settled)
            labels = LabelHistory(settled.labels_low, settled.labels_low) if settled.labels_low is not None else None
            task.restored(self._engine.new_state(task.partition), settled.low, settled.low, 0, None, 0, labels)
        else:
            yield from self._fold_on(task, settled, settled.record)
        log.info(
            "task restored",
            partition=task.partition,
            cause=task.cause,
            offset=task.next_offset,
            rows_replayed=task.rows_since_snapshot,
            snapshot=task.snapshot.sequence if task.snapshot else None,
            seconds=round(time.monotonic() - task.restoring_since_s, 2),
        )

    def end_of_records(self, task: Task) -> Generator[None, None, int]:
        """Offset up to which no record follows what `task` has read; where it stands, if one does. Raises HistoryLost.

        Markers, and records of aborted transactions, take offsets too.
        """
        source, start = TopicPartition(self._ledger.topic, task.partition), task.next_offset
        stop = yield from self._offset(source, _LATEST, IsolationLevel.READ_COMMITTED)
        with closing(self._reader.read(source.topic, source.partition, start, stop)) as slices:
            for messages in slices:
                if messages:
                    return start
                yield
        return max(start, stop)

    def _settled(self, partition: int) -> Generator[None, None, Settled]:
        """[1] the group's stable offset; [2] the journal's end, open transactions included; [3] wait until all before
        it is decided; [4] the newest record. In this order a record that belongs to [1] cannot be missed.
        """
        source = TopicPartition(self._ledger.topic, partition)
        book = TopicPartition(self._ledger.journal_topic, partition)
        committed = yield from self._committed(source)
        low = yield from self._offset(source, _EARLIEST, IsolationLevel.READ_UNCOMMITTED)
        source_end = yield from self._offset(source, _LATEST, IsolationLevel.READ_UNCOMMITTED)
        labels_low = labels_end = None
        if self._ledger.labels_topic is not None:
            labels = TopicPartition(self._ledger.labels_topic, partition)
            labels_low = yield from self._offset(labels, _EARLIEST, IsolationLevel.READ_UNCOMMITTED)
            labels_end = yield from self._offset(labels, _LATEST, IsolationLevel.READ_UNCOMMITTED)
        end = yield from self._offset(book, _LATEST, IsolationLevel.READ_UNCOMMITTED)
        asked_s = time.monotonic()
        while (yield from self._offset(book, _LATEST, IsolationLevel.READ_COMMITTED)) < end:
            asked_s = self._say_hanging(partition, asked_s)
            yield from _pause(SETTLE_WAIT_S)
        first = yield from self._offset(book, _EARLIEST, IsolationLevel.READ_UNCOMMITTED)
        record = yield from self._newest(partition, first, end)
        return Settled(committed, record, low, source_end, labels_low, labels_end)

    def _say_hanging(self, partition: int, asked_s: float) -> float:
        """A transaction may stay open for its timeout and no longer; else its marker was lost on the broker (KIP-664).

        Only an administrator can end it, and what it wrote must not become visible: we wait. Returns `asked_s`, or now
        when it has been said.
        """
        now_s = time.monotonic()
        if now_s - asked_s < HANGING_S:
            return asked_s
        log.error(
            "a transaction on the journal hangs; waiting for its end: see kafka-transactions.sh find-hanging and abort",
            topic=self._ledger.journal_topic,
            partition=partition,
            waited_s=round(now_s - asked_s),
        )
        return now_s

    def _newest(self, partition: int, first: int, end: int) -> Generator[None, None, JournalRecord | None]:
        """The last journal record below `end`, walking back from it."""
        topic, span = self._ledger.journal_topic, JOURNAL_SPAN
        while first < end:
            last = None
            start = max(first, end - span)
            with closing(self._reader.read(topic, partition, start, end)) as slices:
                for messages in slices:
                    last = messages[-1] if messages else last
                    yield
            if last is not None:
                try:
                    return journal.decode(last.value() or b"", f"{topic} partition {partition} offset {last.offset()}")
                except JournalError as error:
                    if not self._rebuild:
                        raise
                    log.warning("the journal cannot be read; rebuilding without it", why=str(error))
                    return None
            if start == first:
                break
            span *= 8
        return None

    def _fold_on(self, task: Task, settled: Settled, record: JournalRecord) -> Slices:
        """Snapshot, or the beginning, then replay to what the journal says."""
        target = agreement.agreed(self._ledger, task.partition, settled, record)
        state, snapshot = None, record.snapshot
        if snapshot is not None:
            state = yield from self._download(task.partition, snapshot)
        if state is None:
            agreement.refuse_cuts_lost(task.partition, record)
            state, snapshot = self._engine.new_state(task.partition), None
        start = snapshot.offset if snapshot is not None else record.origin_offset
        if settled.low > start:
            raise HistoryLost(
                f"expected {self._ledger.topic} partition {task.partition} to hold its records from offset {start} on "
                f"({'after its newest snapshot' if snapshot else 'no snapshot can be read'}), found {settled.low} as "
                "the first: retention took the rest. Start with --rebuild to go on from what is left of the log, or "
                "with a new application_id to begin anew; then raise retention.ms of the topic"
            )
        agreement.refuse_short(self._ledger.topic, task.partition, target, settled.end)
        labels, labels_start = self._label_history(task.partition, settled, record, snapshot)
        replay, at = self._replay(task.partition, state), start
        if labels is not None and labels.merged is not None:
            at, labels_at = labels.merged
            labels_start = yield from replay.merged(start, at, labels_start, labels_at, all_labels=True)
        yield from replay.with_cuts(at, target, labels_start, labels.cuts if labels is not None else ())
        task.restored(state, target, record.origin_offset, record.commit, snapshot, target - start, labels)

    def _label_history(
        self, partition: int, settled: Settled, record: JournalRecord, snapshot: SnapshotReference | None
    ) -> tuple[LabelHistory | None, int]:
        """What the journal says of labels, and the labels offset that the replay begins at. Raises HistoryLost."""
        topic = self._ledger.labels_topic
        if topic is None or settled.labels_low is None or settled.labels_end is None:
            return None, 0
        stop = record.inputs.get(journal.input_name(topic, partition))
        if stop is None or record.labels_origin is None:  # none were read so far
            return LabelHistory(settled.labels_low, settled.labels_low), settled.labels_low
        start = record.labels_origin
        if snapshot is not None and snapshot.labels_offset is not None:
            start = snapshot.labels_offset
        if settled.labels_low > start:
            raise HistoryLost(
                f"expected {topic} partition {partition} to hold its labels from offset {start} on, found "
                f"{settled.labels_low} as the first: retention took the rest. Start with --rebuild to go on from what "
                "is left, then raise retention.ms of the topic"
            )
        agreement.refuse_short(topic, partition, stop, settled.labels_end)
        return LabelHistory(record.labels_origin, stop, [*record.cuts], record.merged), start

    def _fold_anew(self, task: Task, settled: Settled) -> Slices:
        """The retained log, from its first record to the committed offset."""
        record = settled.record
        name = journal.input_name(self._ledger.topic, task.partition)
        target = settled.committed if settled.committed is not None else record.inputs[name] if record else settled.low
        if record is not None and self._ledger.topic in agreement.made_anew(self._ledger, record):
            target = settled.low
        commit = record.commit if record is not None else 0
        self._rebuilt_at_commit.setdefault(task.partition, commit)
        log.warning(
            "rebuilding the state from the retained log", partition=task.partition, first=settled.low, stop=target
        )
        state = self._engine.new_state(task.partition)
        replay, labels, stop = self._replay(task.partition, state), None, max(min(target, settled.end), settled.low)
        if settled.labels_low is None or settled.labels_end is None:
            yield from replay.with_cuts(settled.low, stop, 0, ())
        else:
            low, moved = settled.labels_low, record is not None and target != record.inputs.get(name)
            upto, known = yield from self._label_stop(task.partition, record)
            upto = yield from replay.merged(
                settled.low, stop, low, max(low, min(upto, settled.labels_end)), all_labels=known and not moved
            )
            labels = LabelHistory(low, upto, merged=(stop, upto))
        task.restored(state, stop, settled.low, commit, None, stop - settled.low, labels)
        task.touched = True  # so that the journal says so at once: the next start needs no --rebuild

    def _label_stop(self, partition: int, record: JournalRecord | None) -> Generator[None, None, tuple[int, bool]]:
        """Labels offset that the journal knows, or the end of the labels; and which of the two it is."""
        where = TopicPartition(self._ledger.labels_topic or "", partition)
        known = None
        if record is not None and where.topic not in agreement.made_anew(self._ledger, record):
            known = record.inputs.get(journal.input_name(where.topic, partition))
        if known is not None:
            return known, True
        return (yield from self._offset(where, _LATEST, IsolationLevel.READ_COMMITTED)), False

    def _replay(self, partition: int, state: Any) -> Replay:
        return Replay(self._engine, self._reader, partition, state, self._ledger.topic, self._ledger.labels_topic or "")

    def _download(self, partition: int, reference: SnapshotReference) -> Generator[None, None, Any]:
        """The snapshot's state; None, with an error in the log, where it cannot be used."""
        topic = self._ledger.snapshots_topic
        where = TopicPartition(topic, partition)
        end = yield from self._offset(where, _LATEST, IsolationLevel.READ_UNCOMMITTED)
        low = yield from self._offset(where, _EARLIEST, IsolationLevel.READ_UNCOMMITTED)
        download = Download(partition, reference)
        with closing(self._reader.read(topic, partition, max(low, reference.first_offset), end)) as slices:
            for messages in slices:
                if any(download.add(message) for message in messages):
                    break
                yield
        data = download.data()
        if data is None:
            log.error(
                "snapshot is not whole; replaying from the beginning instead",
                topic=topic,
                partition=partition,
                sequence=reference.sequence,
            )
            return None
        try:
            return self._engine.restore(data)
        except ValueError as error:
            log.error(
                "snapshot cannot be read; replaying from the beginning instead",
                topic=topic,
                partition=partition,
                sequence=reference.sequence,
                error=str(error),
            )
            return None

    def _rebuilds(self, partition: int, settled: Settled) -> bool:
        if not self._rebuild or (settled.record is None and settled.committed is None):
            return False
        commit = settled.record.commit if settled.record is not None else 0
        return commit <= self._rebuilt_at_commit.get(partition, commit)

    def _committed(self, source: TopicPartition) -> Generator[None, None, int | None]:
        """The group's offset, once no open transaction may change it (KIP-447)."""
        while True:
            try:
                found = self._consumer.committed([source], COMMITTED_TIMEOUT_S)[0]
                if found.error is None:
                    self._patience.succeeded()
                    return found.offset if found.offset >= 0 else None
                error = found.error
            except KafkaException as raised:
                error = raised.args[0]
            yield from self._later("read the group's offset", error)

    def _offset(
        self, where: TopicPartition, which: OffsetSpec, isolation: IsolationLevel
    ) -> Generator[None, None, int]:
        """One offset of one partition, asked for without waiting for the answer."""
        while True:
            admin = self._admin  # held, for an answer to a client that is gone never comes
            asked = admin.list_offsets({where: which}, isolation_level=isolation, request_timeout=OFFSETS_TIMEOUT_S)[
                where
            ]
            while not asked.done():
                yield from _pause(0.0)
            try:
                offset = int(asked.result().offset)
            except KafkaException as raised:
                # A new one, for the old one goes on asking under the leader epoch from before a broker came back.
                self._admin = self._new_admin()
                yield from self._later(f"ask for offsets of {where.topic}", raised.args[0])
            else:
                self._patience.succeeded()
                return offset

    def _later(self, what: str, error: KafkaError) -> Slices:
        if error.fatal() or error.code() in _REFUSED:
            raise ConfigurationRefused(f"expected to be allowed to {what}, found {error.name()}: {error.str()}")
        self._patience.failed(what, error)
        yield from _pause(0.25)


_REFUSED = frozenset((KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED))
_EARLIEST, _LATEST = OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]


def _pause(seconds: float) -> Slices:
    """Yield at least once; never keeps the loop from its work for more than two milliseconds at a time."""
    until_s = time.monotonic() + seconds
    while True:
        time.sleep(0.002)
        yield
        if time.monotonic() >= until_s:
            return
