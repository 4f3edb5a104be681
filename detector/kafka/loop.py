"""The loop: (labels →) consume → decode → step → publish → commit, in one thread.

Law: a record counts as processed when its transaction is committed, and not before. Rewinding is the only answer to a
failed transaction; it restores every task that had records in it.

While a batch is decided, the features of the next are made in another thread; nothing is committed before all that was
taken is decided.

One turn takes what is there, for at most one commit interval. While more than a whole batch is waiting, commits are let
grow to `commit_rows_max` rows or `CATCH_UP_S`, for a commit costs milliseconds; else one begins `commit_interval_ms`
after the last one began, or as soon as there is a record, and takes what came in between.

Labels, where they are read, go in first, at a commit boundary of their task; see `labels`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from detector.codec.decode import Decoded
from detector.core.threads import SHARED_ROWS_MIN, ahead
from detector.kafka.dead_letters import DeadLetters, RejectWindow
from detector.kafka.engine import Engine
from detector.kafka.errors import Rewind
from detector.kafka.labels import CUTS_MAX, LabelFold
from detector.kafka.markers import Markers
from detector.kafka.outbox import Outbox
from detector.kafka.pace import Pace
from detector.kafka.patience import Patience
from detector.kafka.reader import readable
from detector.kafka.rebalance import Assignment
from detector.kafka.records import Records, by_partition, records_of
from detector.kafka.restore import Restorer
from detector.kafka.snapshots import Upload
from detector.kafka.tally import Tally
from detector.kafka.tasks import Phase, Task
from detector.kafka.watch import Watch
from detector.settings import Settings

CATCH_UP_S = 0.5
IDLE_WAIT_S = 0.1
RESTORES_AT_ONCE = 4
# Within a revoke or a stop: time for the last commit and the snapshots, below any session timeout we allow.
LEAVE_S = 5.0
# A larger state is not snapshot on leaving: the next owner replays at most one snapshot interval instead.
LEAVE_STATE_BYTES_MAX = 128 * 1024 * 1024

Result = TypeVar("Result")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Batch:
    """A micro-batch of one task whose features are being made. `prepared` waits for them and the CPU seconds spent;
    `taken_s`: monotonic time.
    """

    task: Task
    records: Records
    decoded: Decoded
    prepared: Callable[[], tuple[Any, float]]
    taken_s: float


class Loop:
    """One process's share of the group. Used by the main thread alone; see `rebalance.Owner` for the callbacks."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        consumer: Consumer,
        outbox: Outbox,
        restorer: Restorer,
        letters: DeadLetters,
        watch: Watch,
        patience: Patience,
        labels: LabelFold | None = None,
    ) -> None:
        self._labels = labels
        self._engine, self._consumer, self._outbox, self._restorer = engine, consumer, outbox, restorer
        self._letters, self._watch, self._patience = letters, watch, patience
        self._rows_max = settings.kafka.commit_rows_max
        self._interval_s = settings.kafka.commit_interval_ms / 1e3
        self._snapshot_s, self._snapshot_rows = settings.snapshots.interval_s, settings.snapshots.interval_rows
        self._rejects, self._markers = RejectWindow(settings), Markers(restorer.end_of_records)
        self._assignment = Assignment(settings.topics.transactions, self)
        self._tally, self._pace = Tally(), Pace()
        self._behind = False
        self._commit_began_s = 0.0
        self._failed = False
        self._ahead: Batch | None = None
        self._unsought: list[Task] = []

    def run(self) -> None:
        """Until asked to stop. Raises Stop; after any exception nothing more is committed."""
        self._assignment.subscribe(self._consumer)
        try:
            while not self._watch.stopping:
                self.turn()
            self._leave(self._assignment.running())
        except BaseException:
            self._failed = True
            raise
        finally:
            self._consumer.close()
            self._outbox.close()
            if self._labels is not None:
                self._labels.feed.close()

    def turn(self) -> None:
        """One round: take, fold, publish, commit when due, go on restoring."""
        try:
            self._outbox.open()
            self._learn()
            if messages := self._consume():
                self._process(messages)
            if not self._behind:
                self._conclude()
            if self._due():
                self._commit()
        except Rewind as rewind:
            self._rewind(rewind)
            self._watch.mend()  # a topic that is gone shows up under many names, and not always under its own
        self._restore()
        self._markers.advance()
        feed = self._labels.feed if self._labels is not None else None
        if self._watch.tick(self._assignment, self._consumer, self._engine, feed):
            self._start_snapshots()
            self._markers.begin(self._assignment.running(), self._end)

    def _learn(self) -> None:
        """Fold in the labels that are due. Raises Rewind."""
        if self._labels is not None:
            cpu_s = time.thread_time()
            for tally, rejects in self._labels.fold(self._assignment.running(), self._end):
                self._tally.add_labels(tally, rejects)
            self._watch.spent("labels", time.thread_time() - cpu_s)

    def _end(self, partition: int) -> int:
        """End offset of an input partition as last heard of; below 0 where nothing was."""
        known = self._consumer.get_watermark_offsets(TopicPartition(self._assignment.topic, partition), cached=True)
        return known[1] if known is not None else -1

    def _consume(self) -> list[Message]:
        cpu_s, rows_max = time.thread_time(), self._pace.rows
        if self._tally.first_s is not None or self._assignment.touched():
            messages = self._consumer.consume(rows_max, max(0.0, self._due_s() - time.monotonic()))
        elif self._assignment.restoring():
            messages = self._consumer.consume(rows_max, 0.0)
        elif messages := self._consumer.consume(1, IDLE_WAIT_S):
            self._tally.first_s = time.monotonic()
            messages += self._consumer.consume(rows_max - 1, max(0.0, self._due_s() - time.monotonic()))
        self._behind = len(messages) == rows_max
        self._watch.spent("consume", time.thread_time() - cpu_s)
        return messages

    def _process(self, messages: list[Message]) -> None:
        messages = readable(messages, "consume", self._patience)
        groups = [
            (task, group)
            for partition, group in (by_partition(messages) if messages else {}).items()
            if (task := self._assignment.tasks.get(partition)) is not None and task.phase is Phase.RUNNING
        ]
        # All, before anything can fail: their records are in our hands, and the client will not give them again.
        for task, _ in groups:
            task.touched = True
        if groups and self._tally.first_s is None:
            self._tally.first_s = time.monotonic()
        for task, group in groups:
            self._fold(task, group)
        if not self._assignment.touched():
            self._tally.first_s = None

    def _fold(self, task: Task, messages: list[Message]) -> None:
        """One micro-batch of one task is decoded and begun, the one before it concluded. Raises as `_conclude`."""
        wall_s, cpu_s = time.monotonic(), time.thread_time()
        records = records_of(task.partition, messages, task.next_offset)
        if not len(records):
            return
        decoded = self._engine.decode(records)
        task.next_offset = int(records.offset[-1]) + 1
        self._watch.spent("decode", time.thread_time() - cpu_s)
        state = task.state
        if len(records) < SHARED_ROWS_MIN:  # what runs here at once must come after what runs there
            self._conclude()
        prepared = ahead(lambda: _timed(lambda: self._engine.prepare(state, decoded)), len(records))
        self._conclude(Batch(task, records, decoded, prepared, wall_s))

    def _conclude(self, follows: Batch | None = None) -> None:
        """Decide and publish the batch that was begun; `follows` is begun now. Raises Rewind, TooManyRejects."""
        batch, self._ahead = self._ahead, follows
        if batch is None:
            return
        task, records, decoded = batch.task, batch.records, batch.decoded
        prepared, spent_s = batch.prepared()
        began_s, asked_s = time.thread_time(), time.monotonic()
        decisions = self._engine.conclude(task.state, prepared)
        self._pace.took(len(records), time.monotonic() - asked_s)
        concluded_s = time.thread_time()
        for output in self._engine.outputs(records, decoded, decisions):
            self._outbox.produce(output)
        for reject in decoded.rejects:
            self._outbox.produce(self._letters.of(records, reject))
        task.rows_since_snapshot += len(records)
        self._tally.add(records, decoded, decisions)
        self._tally.processing_s.append(time.monotonic() - batch.taken_s)
        self._watch.spent("step", spent_s + concluded_s - began_s)
        self._watch.spent("publish", time.thread_time() - concluded_s)
        if self._rejects.add(len(records), decoded.rejects):
            self._commit()
            self._rejects.stop(decoded.rejects)

    def _due_s(self) -> float:
        """Monotonic time of the next commit."""
        if self._tally.first_s is None:
            return 0.0
        if self._behind:
            return self._tally.first_s + max(CATCH_UP_S, self._interval_s)
        return self._commit_began_s + self._interval_s

    def _due(self) -> bool:
        rows_due = self._tally.rows >= self._rows_max
        return bool(self._assignment.touched()) and (rows_due or time.monotonic() >= self._due_s())

    def _commit(self) -> None:
        """Settle all touched tasks; metrics only afterwards. Raises Rewind, TooManyRejects."""
        self._conclude()
        began_s, cpu_s = time.monotonic(), time.thread_time()
        self._commit_began_s = began_s
        self._outbox.commit(self._assignment.touched(), self._consumer)
        tally, self._tally = self._tally, Tally()
        self._start_snapshots()
        self._watch.committed(tally, time.monotonic() - began_s)
        self._watch.spent("commit", time.thread_time() - cpu_s)

    def _rewind(self, rewind: Rewind) -> None:
        """The one answer to a transaction that is gone: every task touched since the last commit restores."""
        self._abandon()
        tasks = self._assignment.touched()
        log.warning(
            "transaction gone; restoring", cause=rewind.cause, why=str(rewind), partitions=[t.partition for t in tasks]
        )
        self._tally = Tally()
        self._rejects.reset()
        self._watch.rewound(rewind.cause)
        self._consumer.pause(self._assignment.where(tasks))
        for task in tasks:
            self._forget_labels(task)
            task.rewind(rewind.cause)
            task.restoring = self._restorer.restore(task)

    def _abandon(self) -> bool:
        """Wait for the batch that was begun and forget it: its task must restore. Whether there was one."""
        batch, self._ahead = self._ahead, None
        if batch is not None:
            batch.prepared()
        return batch is not None

    def _restore(self) -> None:
        """One slice of each restore; a task that is done takes records from its next offset on."""
        for task in self._assignment.restoring()[:RESTORES_AT_ONCE]:
            if task.restoring is not None and next(task.restoring, self) is self:
                self._watch.restored(task)
                self._unsought.append(task)
                if self._labels is not None:
                    self._labels.feed.follow(task)
        for task in [*self._unsought]:
            here = self._assignment.tasks.get(task.partition) is task and task.phase is Phase.RUNNING
            if not here or self._sought(task):
                self._unsought.remove(task)

    def _sought(self, task: Task) -> bool:
        """Whether the client now reads on where the state ends; False while it is still taking the partition up."""
        try:
            self._consumer.seek(TopicPartition(self._assignment.topic, task.partition, task.next_offset))
        except KafkaException as error:
            log.debug("seek to be tried again", partition=task.partition, error=str(error))
            return False
        self._consumer.resume(self._assignment.where([task]))
        return True

    def _start_snapshots(self) -> None:
        """Take those that are due, of tasks that stand at a commit boundary."""
        now_s = time.monotonic()
        for task in self._assignment.running():
            if task.touched or not task.changed:
                continue
            old = now_s - task.snapshot_taken_s >= self._snapshot_s
            many_cuts = task.labels is not None and len(task.labels.cuts) >= CUTS_MAX // 2
            if old or many_cuts or task.rows_since_snapshot >= self._snapshot_rows:
                self._snapshot(task)

    def _snapshot(self, task: Task) -> None:
        """The task's state as bytes, to be sent with the next commits."""
        began_s = time.monotonic()
        data = self._engine.snapshot(task.state)
        sequence = task.snapshot.sequence + 1 if task.snapshot is not None else 1
        labels_offset = task.labels.next_offset if task.labels is not None else None
        task.upload = Upload(task.partition, sequence, task.next_offset, data, labels_offset)
        task.touched, task.rows_since_snapshot, task.snapshot_taken_s = True, 0, began_s
        self._watch.snapshot(len(data), time.monotonic() - began_s)

    # What the group calls back, from within consume() and close().

    def assigned(self, tasks: Sequence[Task]) -> None:
        """Restore them, slice by slice."""
        for task in tasks:
            task.restoring = self._restorer.restore(task)
        self._watch.assigned(tasks)

    def revoking(self, tasks: Sequence[Task]) -> None:
        """Commit and snapshot what leaves, within bounds; else abort."""
        if not self._failed:
            self._leave(tasks)

    def losing(self, tasks: Sequence[Task]) -> None:
        """Abort; never commit."""
        self._watch.lost()
        with self._patience.limited(LEAVE_S):
            if self._failed:
                return
            begun = self._abandon()
            if (rewind := self._outbox.abort()) is not None:
                self._rewind(rewind)
            elif begun:
                self._rewind(Rewind("aborted", "partitions lost with a batch begun"))

    def dropped(self, tasks: Sequence[Task]) -> None:
        """Forget their labels and metrics."""
        for task in tasks:
            self._forget_labels(task)
        self._watch.dropped(tasks)

    def _forget_labels(self, task: Task) -> None:
        if self._labels is not None:
            self._labels.feed.forget(task.partition)

    def _leave(self, tasks: Sequence[Task]) -> None:
        until_s = time.monotonic() + LEAVE_S
        with self._patience.limited(LEAVE_S):
            try:
                if self._assignment.touched():
                    self._commit()
                for task in tasks:
                    small = task.phase is Phase.RUNNING and self._engine.nbytes(task.state) <= LEAVE_STATE_BYTES_MAX
                    if small and task.changed and task.upload is None:
                        self._snapshot(task)
                while self._assignment.touched() and time.monotonic() < until_s:
                    self._commit()
            except Rewind as rewind:
                self._rewind(rewind)


def _timed(call: Callable[[], Result]) -> tuple[Result, float]:
    """The result and the CPU seconds that this thread spent on it."""
    began_s = time.thread_time()
    return call(), time.thread_time() - began_s
