"""When each row is due: at a rate, at a multiple of its own event time, or at once.

Law: rows leave in order and never before they are due. A stall (a broker away, a slow machine) of more than STALL_S
shifts the schedule instead of being made up for in a burst.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from threading import Event
from typing import Protocol

import numpy as np

from producers.world import FloatArray, IntArray

STALL_S = 1.0
WAIT_MIN_S = 0.002  # finer slices cost more than they smooth


class Pace(Protocol):
    """Says when rows are due."""

    def due_s(self, event_time_ms: IntArray) -> FloatArray | None:
        """Seconds after the first row at which each of the next n rows is due, never falling; None for at once."""


class FlatOut:
    """All at once."""

    def due_s(self, event_time_ms: IntArray) -> None:
        """At once."""


class Rate:
    """`per_s` rows a second, evenly."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._rows = 0

    def due_s(self, event_time_ms: IntArray) -> FloatArray:
        """Row number ÷ rate."""
        first, self._rows = self._rows, self._rows + len(event_time_ms)
        due: FloatArray = np.arange(first, self._rows) / self._per_s
        return due


class Speed:
    """`multiple` seconds of event time a second; a row out of order is due with the row before it."""

    def __init__(self, multiple: float) -> None:
        self._multiple = multiple
        self._first_ms: int | None = None
        self._latest_ms = 0

    def due_s(self, event_time_ms: IntArray) -> FloatArray:
        """Highest event time so far, since the first row's, ÷ multiple."""
        if self._first_ms is None:
            self._first_ms = self._latest_ms = int(event_time_ms[0])
        latest = np.maximum(np.maximum.accumulate(event_time_ms), self._latest_ms)
        self._latest_ms = int(latest[-1])
        due: FloatArray = (latest - self._first_ms) / 1_000 / self._multiple
        return due


class Schedule:
    """Cuts batches into slices that are due; one for a run."""

    def __init__(self, pace: Pace, stop: Event, clock: Callable[[], float] = time.monotonic) -> None:
        self._pace = pace
        self._stop = stop
        self._clock = clock
        self._start_s: float | None = None

    def slices(self, event_time_ms: IntArray) -> Iterator[slice]:
        """The rows as consecutive slices, each yielded when its rows are due; ends early once `stop` is set."""
        n = len(event_time_ms)
        due_s = self._pace.due_s(event_time_ms) if n else None
        if due_s is None:
            if n and not self._stop.is_set():
                yield slice(0, n)
            return
        at = 0
        while at < n and not self._stop.is_set():
            now_s = self._clock()
            if self._start_s is None:
                self._start_s = now_s
            behind_s = now_s - self._start_s - float(due_s[at])
            if behind_s > STALL_S:
                self._start_s += behind_s
            if behind_s < 0:
                self._stop.wait(max(-behind_s, WAIT_MIN_S))
                continue
            due = int(np.searchsorted(due_s, now_s - self._start_s, side="right"))
            due = max(due, at + 1)
            yield slice(at, due)
            at = due
