"""Labels as they come in, beside the transactions.

Law: when a label is folded in may depend on clocks and networks; where it was folded in is noted in the journal, in the
transaction that commits it, and a restore goes by that. The position in the labels topic is the journal's alone: the
group knows nothing of it, and a task that is restored begins where its journal says.

A label waits in our hands for one of two things: that a transaction at or after its event time has been decided, or
that all transactions are decided which were in the log a moment after the label was read. The first keeps labels and
transactions in step while a backlog of both is worked off; the second lets a label in at once where there is none. So
no label overtakes a transaction that was written before it, unless its own event time is the earlier one.

It goes in at a commit boundary, before the next transactions, and each task is seen to once in an interval. While a
backlog is worked off an interval of the clock spans much event time: labels are then late by that, never early.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from confluent_kafka import Consumer, Message, TopicPartition
from numpy.typing import NDArray

from detector.codec.decode import Reject
from detector.core.labels import LabelTally
from detector.kafka.dead_letters import DeadLetters
from detector.kafka.engine import Engine
from detector.kafka.outbox import Outbox
from detector.kafka.patience import Patience
from detector.kafka.reader import readable
from detector.kafka.records import Records, by_partition, records_of
from detector.kafka.replay import accepted
from detector.kafka.tasks import LabelHistory, Task

# Labels in our hands, a task; while one has so many, none are read. Also the most of one cut.
WAITING_MAX = 10_000
READ_MAX = 4_096
# Cuts in the journal record of each commit: some 6 kB. Half of them make a snapshot due, all of them let labels wait.
CUTS_MAX = 256

UNKNOWN = np.iinfo(np.int64).max

Ends = Callable[[int], int]


@dataclass(slots=True)
class Waiting:
    """Labels of one task that were read and not folded in: column i of each the same message.

    `event_time_ms`: of the label, the least number where there is none; `barrier`: the transactions offset from which
    on it may go in whatever its event time, `UNKNOWN` until that is known.
    """

    position: int
    messages: list[Message] = field(default_factory=list)
    event_time_ms: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    barrier: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def add(self, records: Records, event_time_ms: NDArray[np.int64]) -> None:
        """More of them."""
        self.messages += records.messages
        self.event_time_ms = np.concatenate((self.event_time_ms, event_time_ms))
        self.barrier = np.concatenate((self.barrier, np.full(len(records), UNKNOWN)))
        self.position = int(records.offset[-1]) + 1

    def due(self, next_offset: int, newest_ms: float) -> int:
        """How many of the first may go in."""
        held = (self.event_time_ms > newest_ms) & (self.barrier > next_offset)
        return int(np.argmax(held)) if held.any() else len(held)

    def take(self, count: int) -> list[Message]:
        """The first so many, which are here no more."""
        taken, self.messages = self.messages[:count], self.messages[count:]
        self.event_time_ms, self.barrier = self.event_time_ms[count:], self.barrier[count:]
        return taken


class LabelFeed:
    """The labels of this process's running tasks. Used by the main thread alone.

    One assign()-only consumer reads all of them. It is thrown away whenever a task leaves or is restored: what a client
    hands out after a seek may stem from before it, and the next one knows of nothing but where to begin.
    """

    def __init__(
        self, config: dict[str, Any], topic: str, engine: Engine, patience: Patience, interval_s: float
    ) -> None:
        self._config, self.topic, self._engine, self._patience = config, topic, engine, patience
        self._interval_s = interval_s
        self._waiting: dict[int, Waiting] = {}
        self._consumer: Consumer | None = None
        self._stale = False
        self._read_s = 0.0

    def follow(self, task: Task) -> None:
        """The task is restored: read on from where its journal stands."""
        assert task.labels is not None
        self._waiting[task.partition] = Waiting(task.labels.next_offset)
        self._stale = True

    def forget(self, partition: int) -> None:
        """The task has left, or goes back."""
        if self._waiting.pop(partition, None) is not None:
            self._stale = True

    def due(self, tasks: Sequence[Task], ends: Ends) -> Iterator[tuple[Task, LabelHistory, Records]]:
        """What may be folded in now, task by task; taken out of our hands. Raises HistoryLost, Stop.

        `ends(partition)`: the end of the transactions log as the client last heard of it, below 0 where it has not.
        """
        now_s = time.monotonic()
        if now_s - self._read_s >= self._interval_s:
            self._read_s = now_s
            self._raise_barriers(ends)
            self._read()
        for task in tasks:
            waiting, history = self._waiting.get(task.partition), task.labels
            if waiting is None or not waiting.messages or history is None or not task.at_boundary:
                continue
            if now_s - history.looked_s < self._interval_s or len(history.cuts) >= CUTS_MAX:
                continue
            history.looked_s = now_s
            newest_ms = self._engine.gauges(task.state).get("event_time_ms_max", -1.0)
            if count := waiting.due(task.next_offset, newest_ms):
                yield task, history, records_of(task.partition, waiting.take(count), history.next_offset)

    def lag(self, task: Task) -> int | None:
        """Labels between the task's last commit and the end of their log, as the client last heard of it."""
        if self._consumer is None or task.labels is None:
            return None
        known = self._consumer.get_watermark_offsets(TopicPartition(self.topic, task.partition), cached=True)
        return max(0, known[1] - task.labels.committed_offset) if known is not None and known[1] >= 0 else None

    def close(self) -> None:
        """Let the consumer go."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    def _raise_barriers(self, ends: Ends) -> None:
        """For what the last look has brought: what was in the transactions log by now goes first."""
        for partition, waiting in self._waiting.items():
            unknown = waiting.barrier == UNKNOWN
            if unknown.any() and (end := ends(partition)) >= 0:
                waiting.barrier[unknown] = end

    def _read(self) -> None:
        if self._stale:
            self.close()
            self._stale = False
        if self._consumer is None and self._waiting:
            self._consumer = Consumer(self._config)
            self._consumer.assign(
                [
                    TopicPartition(self.topic, partition, waiting.position)
                    for partition, waiting in self._waiting.items()
                ]
            )
        while self._consumer is not None and all(len(one.messages) < WAITING_MAX for one in self._waiting.values()):
            messages = self._consumer.consume(READ_MAX, 0.0)
            if found := readable(messages, "read labels", self._patience):
                for partition, group in by_partition(found).items():
                    self._add(partition, group)
            if len(messages) < READ_MAX:
                break

    def _add(self, partition: int, messages: list[Message]) -> None:
        waiting = self._waiting[partition]
        records = records_of(partition, messages, waiting.position)
        if not len(records):
            return
        decoded = self._engine.decode_labels(records)
        event_time_ms = np.full(len(records), np.iinfo(np.int64).min)
        event_time_ms[accepted(records, decoded)] = decoded.labels.event_time_ms
        waiting.add(records, event_time_ms)


class LabelFold:
    """Folds what is due into the tasks' states, and sets rejects aside, within the open transaction."""

    def __init__(self, feed: LabelFeed, engine: Engine, outbox: Outbox, letters: DeadLetters) -> None:
        self.feed, self._engine, self._outbox, self._letters = feed, engine, outbox, letters

    def fold(self, tasks: Sequence[Task], ends: Ends) -> list[tuple[LabelTally, list[Reject]]]:
        """What became of the labels; to be counted when it is committed. Raises Rewind, HistoryLost, Stop."""
        found = []
        for task, history, records in self.feed.due(tasks, ends):
            task.touched = True
            decoded = self._engine.decode_labels(records)
            tally = self._engine.learn_labels(task.state, decoded)
            history.cut(task.next_offset, int(records.offset[-1]) + 1)
            for reject in decoded.rejects:
                self._outbox.produce(self._letters.of(records, reject))
            found.append((tally, decoded.rejects))
        return found
