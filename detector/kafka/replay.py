"""Folding stretches of the logs into a state, output off.

Law (restore ≡ replay): a stretch folds to the same state in any slices. Labels go in before the very transaction before
which they went in the first time, one call a cut, all labels of the cut at once.

A rebuild has no cuts to go by. It merges both logs by event time: a label goes in before the first transaction, in log
order, whose event time is at or after the label's, and never before a label that precedes it in its own log. This
depends on the two logs alone, and the journal notes how far it went, so that a restore can do it again. (`detector
replay` goes by event time too, yet lets labels in at whole intervals only; here a changed setting must change nothing.)
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import structlog
from confluent_kafka import Message
from numpy.typing import NDArray

from detector.codec.decode import Decoded
from detector.codec.labels import DecodedLabels
from detector.core.labels import LabelBatch
from detector.kafka.engine import Engine
from detector.kafka.journal import Cut
from detector.kafka.reader import LogReader
from detector.kafka.records import Records, records_of

Slices = Generator[None, None, None]

SAY_EVERY_S = 5.0

log = structlog.get_logger(__name__)


class Replay:
    """Folds stretches of one task's logs into `state`. `labels_topic`: empty where no labels are read."""

    def __init__(
        self, engine: Engine, reader: LogReader, partition: int, state: Any, topic: str, labels_topic: str
    ) -> None:
        self._engine, self._reader, self._partition, self._state = engine, reader, partition, state
        self._topic, self._labels_topic = topic, labels_topic
        self._said_s = time.monotonic()

    def with_cuts(self, start: int, stop: int, labels_start: int, cuts: Sequence[Cut]) -> Slices:
        """Transactions of [start, stop), and the labels from `labels_start` on, folded in at `cuts`."""
        labels_stop = cuts[-1][1] if cuts else labels_start
        with (
            closing(self._read(self._topic, start, stop)) as transactions,
            closing(self._read(self._labels_topic, labels_start, labels_stop)) as labels,
        ):
            for offset, labels_offset in cuts:
                yield from self._fold(transactions, offset, stop)
                found: list[Message] = []
                for messages in labels.below(labels_offset):
                    found += messages
                    yield
                if found:
                    self._engine.learn_labels(self._state, self._engine.decode_labels(self._records(found)))
            yield from self._fold(transactions, stop, stop)

    def merged(
        self, start: int, stop: int, labels_start: int, labels_stop: int, all_labels: bool
    ) -> Generator[None, None, int]:
        """Transactions of [start, stop), and labels of [labels_start, labels_stop) by event time.

        Labels that no transaction has reached go in at the end where `all_labels`, else not at all. Returns the next
        labels offset. Holds all these labels at once, 25 bytes each.
        """
        labels, labels_offset = yield from self._all_labels(labels_start, labels_stop)
        due_ms = np.maximum.accumulate(labels.event_time_ms)
        at = 0
        with closing(self._read(self._topic, start, stop)) as transactions:
            for messages in transactions.below(stop):
                if messages:
                    records = self._records(messages)
                    at = self._fold_among(self._engine.decode(records), labels, due_ms, at)
                    self._say(records, stop)
                yield
        if all_labels:
            at = self._learn(labels, at, len(labels))
        return int(labels_offset[at]) if at < len(labels) else labels_stop

    def _fold(self, transactions: Stretch, upto: int, stop: int) -> Slices:
        for messages in transactions.below(upto):
            if messages:
                records = self._records(messages)
                self._step(self._engine.decode(records))
                self._say(records, stop)
            yield

    def _fold_among(self, decoded: Decoded, labels: LabelBatch, due_ms: NDArray[np.int64], at: int) -> int:
        """The rows of `decoded`, each after the labels from `at` on that it has reached; returns the next label."""
        rows = len(decoded.batch)
        reached_ms = np.maximum.accumulate(decoded.batch.event_time_ms)
        due = at + np.searchsorted(due_ms[at:], reached_ms, "right")  # (rows,), labels in before each row
        first = 0
        for row in np.flatnonzero(np.diff(due, prepend=at)).tolist():
            self._step(_rows(decoded, first, row))
            at = self._learn(labels, at, int(due[row]))
            first = row
        self._step(_rows(decoded, first, rows))
        return at

    def _step(self, decoded: Decoded) -> None:
        if len(decoded.batch):
            self._engine.conclude(self._state, self._engine.prepare(self._state, decoded))

    def _learn(self, labels: LabelBatch, start: int, stop: int) -> int:
        if start < stop:
            self._engine.learn_labels(self._state, DecodedLabels(labels.rows(start, stop), []))
        return stop

    def _all_labels(self, start: int, stop: int) -> Generator[None, None, tuple[LabelBatch, NDArray[np.int64]]]:
        """The accepted labels of a stretch, and the offset of each."""
        parts = [LabelBatch(np.empty(0, np.uint64), np.empty(0, np.bool_), np.empty(0, np.int64))]
        offsets = [np.empty(0, np.int64)]
        with closing(self._read(self._labels_topic, start, stop)) as stretch:
            for messages in stretch.below(stop):
                if messages:
                    records = self._records(messages)
                    decoded = self._engine.decode_labels(records)
                    parts.append(decoded.labels)
                    offsets.append(records.offset[accepted(records, decoded)])
                yield
        labels = LabelBatch(
            np.concatenate([part.identity for part in parts]),
            np.concatenate([part.is_fraud for part in parts]),
            np.concatenate([part.event_time_ms for part in parts]),
        )
        return labels, np.concatenate(offsets)

    def _read(self, topic: str, start: int, stop: int) -> Stretch:
        return Stretch(self._reader.read(topic, self._partition, start, stop))

    def _records(self, messages: list[Message]) -> Records:
        return records_of(self._partition, messages, 0)

    def _say(self, records: Records, stop: int) -> None:
        if time.monotonic() - self._said_s > SAY_EVERY_S:
            self._said_s = time.monotonic()
            log.info("restoring", partition=self._partition, offset=int(records.offset[-1]) + 1, stop=stop)


class Stretch:
    """The messages of one read, handed out up to one offset after another."""

    def __init__(self, slices: Generator[list[Message], None, None]) -> None:
        self._slices = slices
        self._held: list[Message] = []

    def below(self, offset: int) -> Generator[list[Message], None, None]:
        """Those not handed out yet whose offset is below `offset`, in slices that may be empty."""
        while True:
            count = bisect_left(self._held, offset, key=_offset)
            taken, self._held = self._held[:count], self._held[count:]
            if taken:
                yield taken
            if self._held:
                return
            try:
                self._held = next(self._slices)
            except StopIteration:
                return
            if not self._held:
                yield []

    def close(self) -> None:
        """Let the reader go."""
        self._slices.close()


def _rows(decoded: Decoded, start: int, stop: int) -> Decoded:
    return Decoded(decoded.batch.rows(start, stop), decoded.record[start:stop], [], 0)


def _offset(message: Message) -> int:
    return message.offset() or 0


def accepted(records: Records, decoded: DecodedLabels) -> NDArray[np.int64]:
    """Index into `records` of each accepted label."""
    kept = np.fromiter((payload is not None for payload in records.payloads), np.bool_, len(records))
    kept[[reject.record for reject in decoded.rejects]] = False
    return np.flatnonzero(kept)
