"""One run: batches through a schedule into a sink, labels when they are due.

Laws: transactions leave in the order of the batches. A label leaves once a transaction at or after the label's own
event time has left, and not before the transaction that it labels; labels leave in the order of their event time (those
still pending at the end, right then).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BufferedWriter
from pathlib import Path
from threading import Event
from typing import Protocol

from producers.encoding import Batch
from producers.pace import Pace, Schedule
from producers.publish import EX_CONFIG, Publisher, PublishError


class Sink(Protocol):
    """Where records go. Both return how many were taken: fewer only when stopped."""

    def transactions(self, keys: Sequence[str | None], payloads: Sequence[bytes]) -> int:
        """Takes transactions in order."""

    def labels(self, keys: Sequence[str | None], payloads: Sequence[bytes]) -> int:
        """Takes labels in order."""

    def close(self) -> int:
        """Delivers all; returns how many records were not delivered."""

    @property
    def fault(self) -> PublishError | None:
        """What went wrong for good, if anything did."""


class KafkaSink:
    """Two topics of a connected Publisher."""

    def __init__(self, publisher: Publisher, topic: str, labels_topic: str) -> None:
        self._publisher = publisher
        self._topic = topic
        self._labels_topic = labels_topic

    def transactions(self, keys: Sequence[str | None], payloads: Sequence[bytes]) -> int:
        """To the transactions topic."""
        return self._publisher.send(self._topic, keys, payloads)

    def labels(self, keys: Sequence[str | None], payloads: Sequence[bytes]) -> int:
        """To the labels topic."""
        return self._publisher.send(self._labels_topic, keys, payloads)

    def close(self) -> int:
        """As Publisher.close."""
        return self._publisher.close()

    @property
    def fault(self) -> PublishError | None:
        """As Publisher.fault."""
        return self._publisher.fault


class FileSink:
    """JSON Lines: transactions in one file, labels in a second one. Replaces both."""

    def __init__(self, output: Path, labels_output: Path) -> None:
        self._file = output.open("wb")
        self._labels = labels_output.open("wb")
        self._fault: PublishError | None = None

    def transactions(self, keys: Sequence[str | None], payloads: Sequence[bytes]) -> int:
        """One line each."""
        return self._write(self._file, payloads)

    def labels(self, keys: Sequence[str | None], payloads: Sequence[bytes]) -> int:
        """One line each."""
        return self._write(self._labels, payloads)

    def _write(self, file: BufferedWriter, payloads: Sequence[bytes]) -> int:
        try:
            file.writelines(payload + b"\n" for payload in payloads)
        except OSError as error:
            raise _unwritable(file, error) from error
        return len(payloads)

    def close(self) -> int:
        """Closes both files; where there is no room for what they still hold, `fault` says so."""
        for file in (self._file, self._labels):
            try:
                file.close()
            except OSError as error:
                self._fault = self._fault or _unwritable(file, error)
        return 0

    @property
    def fault(self) -> PublishError | None:
        """What kept a file from being complete when it was closed."""
        return self._fault


def _unwritable(file: BufferedWriter, error: OSError) -> PublishError:
    return PublishError(f"{file.name}: cannot be written to its end: {error.strerror}", EX_CONFIG)


@dataclass(slots=True)
class Tally:
    """What a run has sent so far. `event_time_ms` is the latest sent, None before the first."""

    transactions: int = 0
    labels: int = 0
    frauds: int = 0
    first_event_time_ms: int | None = None
    event_time_ms: int | None = None


class Watcher(Protocol):
    """Told after every slice."""

    def update(self, tally: Tally) -> None:
        """Shows where the run is."""


@dataclass(slots=True)
class LabelQueue:
    """Labels that wait for their event time."""

    delay_ms: int
    _heap: list[tuple[int, int, str | None, bytes]] = field(default_factory=list)
    _count: int = 0

    def add(self, batch: Batch, upto_row: int, from_row: int) -> None:
        """The labels of the batch's rows in `from_row:upto_row`."""
        first, last = batch.label_row.searchsorted((from_row, upto_row)).tolist()
        for at in range(first, last):
            due_ms = int(batch.event_time_ms[batch.label_row[at]]) + self.delay_ms
            heapq.heappush(self._heap, (due_ms, self._count, batch.label_keys[at], batch.label_payloads[at]))
            self._count += 1

    def due(self, event_time_ms: int | None) -> tuple[list[str | None], list[bytes]]:
        """Keys and payloads of the labels known by this event time, in order; None for all."""
        keys: list[str | None] = []
        payloads: list[bytes] = []
        while self._heap and (event_time_ms is None or self._heap[0][0] <= event_time_ms):
            _, _, key, payload = heapq.heappop(self._heap)
            keys.append(key)
            payloads.append(payload)
        return keys, payloads


def run(
    batches: Iterator[Batch],
    sink: Sink,
    pace: Pace,
    label_delay_ms: int,
    stop: Event,
    watcher: Watcher,
    tally: Tally,
    limit: int = 0,
) -> None:
    """Sends everything, or `limit` transactions, or until `stop`, and counts it in `tally`; leaves closing the sink to
    the caller. Raises what the sink raises.
    """
    queue = LabelQueue(label_delay_ms)
    schedule = Schedule(pace, stop)
    for batch in batches:
        length = min(len(batch), limit - tally.transactions) if limit else len(batch)
        for part in schedule.slices(batch.event_time_ms[:length]):
            _send(batch, part, sink, queue, tally)
            watcher.update(tally)
        if stop.is_set() or (limit and tally.transactions >= limit):
            break
    keys, payloads = queue.due(None)
    tally.labels += sink.labels(keys, payloads)
    watcher.update(tally)


def _send(batch: Batch, part: slice, sink: Sink, queue: LabelQueue, tally: Tally) -> None:
    sent = sink.transactions(batch.keys[part], batch.payloads[part])
    if not sent:
        return
    upto = part.start + sent
    latest_ms = int(batch.event_time_ms[part.start : upto].max())
    if tally.first_event_time_ms is None:
        tally.first_event_time_ms = int(batch.event_time_ms[part.start])
    tally.event_time_ms = latest_ms = max(latest_ms, tally.event_time_ms or latest_ms)
    tally.transactions += sent
    tally.frauds += int(batch.fraud[part.start : upto].sum())
    queue.add(batch, upto, part.start)
    keys, payloads = queue.due(latest_ms)
    if keys:
        tally.labels += sink.labels(keys, payloads)
