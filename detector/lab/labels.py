"""Late labels of a replay: where they come from, and when each is learned.

Laws: a label is learned after its transaction, and before the first transaction of its partition whose event time is at
or after the first whole `interval_ms` that is not before the label's own event time (*prequential*: never sooner). What
is learned when depends on the rows and the labels alone, not on how the file is cut into batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from detector.codec.hashing import hash_columns
from detector.codec.masking import mask
from detector.core.labels import LabelBatch
from detector.lab.errors import InputStopped, WrongUsage
from detector.lab.role_names import FALSE_WORDS, TRUE_WORDS
from detector.settings import Settings
from schemas.base import EVENT_TIME_MAX_MS, EVENT_TIME_MIN_MS
from schemas.files import payloads, text_columns
from schemas.mapping import Mapping
from schemas.members import Members, as_key
from schemas.times import pattern_ms, rfc3339_ms

UNKNOWN = -1
LABEL_INTERVAL_MS = 900_000
ID_COLUMN, TRUTH_COLUMN, TIME_COLUMN = "transaction_id", "is_fraud", "event_time"


@dataclass(slots=True)
class Told:
    """k labels of a batch's rows: `row` int64 (k,), ascending; `is_fraud` bool (k,); `event_time_ms` int64 (k,)."""

    row: NDArray[np.int64]
    is_fraud: NDArray[np.bool_]
    event_time_ms: NDArray[np.int64]


class Labels(Protocol):
    """What the rows turn out to be."""

    def of(self, payloads: Sequence[bytes], identity: NDArray[np.uint64], event_time_ms: NDArray[np.int64]) -> Told:
        """The labels of some rows, one array entry a row in each argument."""
        ...


def truth_of(value: Any) -> bool | None:
    """1, true and the words that tables use: yes, fraud → True; 0, no, normal → False; else None."""
    word = str(value).strip().lower()
    return True if word in TRUE_WORDS else False if word in FALSE_WORDS else None


class ColumnLabels:
    """The truth stands in the rows themselves, and is known `delay_ms` after them."""

    def __init__(self, path: str, delay_ms: int) -> None:
        self._truth = Members({"truth": path})
        self._delay_ms = delay_ms

    def of(self, payloads: Sequence[bytes], identity: NDArray[np.uint64], event_time_ms: NDArray[np.int64]) -> Told:
        """One label a row of known truth."""
        truth = [truth_of(value) for value in self._truth.columns(payloads)["truth"]]
        row = np.array([index for index, one in enumerate(truth) if one is not None], np.int64)
        is_fraud = np.array([one for one in truth if one is not None], np.bool_)
        return Told(row, is_fraud, event_time_ms[row] + self._delay_ms)


class HeldLabels:
    """Labels held in memory, some 17 bytes each, in the order in which they were told; the last word is the truth.

    `count`: how many; `found`: how often one named a row that was asked about; `frauds_only`: none says genuine.
    """

    def __init__(
        self,
        identity: NDArray[np.uint64],
        is_fraud: NDArray[np.bool_],
        event_time_ms: NDArray[np.int64],
        delay_ms: int | None = None,
    ) -> None:
        """`event_time_ms` is UNKNOWN where a label is told `delay_ms` after its transaction."""
        order = np.argsort(identity, kind="stable")
        self._identity, self._is_fraud, self._time_ms = identity[order], is_fraud[order], event_time_ms[order]
        self._delay_ms = delay_ms
        self.count, self.found = len(identity), 0
        self.frauds_only = bool(is_fraud.all())

    def of(self, payloads: Sequence[bytes], identity: NDArray[np.uint64], event_time_ms: NDArray[np.int64]) -> Told:
        """All labels that name the rows."""
        first = np.searchsorted(self._identity, identity, "left")
        count = np.searchsorted(self._identity, identity, "right") - first
        row = np.repeat(np.arange(len(identity)), count)
        at = np.repeat(first - np.cumsum(count) + count, count) + np.arange(len(row))
        time_ms = self._time_ms[at]
        time_ms = np.where(time_ms == UNKNOWN, event_time_ms[row] + (self._delay_ms or 0), time_ms)
        self.found += len(row)
        return Told(row, self._is_fraud[at], time_ms)


class FileLabels(HeldLabels):
    """A file of labels. `unreadable` counts its rows that are none.

    Each row names a transaction (`transaction_id`, or the input's own name of it) and its truth (`is_fraud`, or
    `truth_column`; see `truth_of`). It arrives at its `event_time` (epoch milliseconds, RFC 3339, or as the
    transactions write theirs), or where the file has none `delay_ms` after its transaction.
    """

    def __init__(self, path: Path, mapping: Mapping, truth_column: str | None, delay_ms: int | None) -> None:
        """Raises FileError, InputStopped: no such columns, a time that is none; WrongUsage: neither times nor delay."""
        own = mapping.fields.get("transaction_id", ID_COLUMN)
        members = Members({"id": ID_COLUMN, "own": own, "truth": truth_column or TRUTH_COLUMN, "time": TIME_COLUMN})
        self.unreadable = 0
        self._pattern = mapping.time_format if "%" in mapping.time_format else None
        texts = {*text_columns(mapping), ID_COLUMN}
        # Only hashes are kept of a batch: the ids of ten million labels would take more than a gigabyte.
        parts = [self._part(path, members.columns(batch)) for batch in payloads(path, text_columns=texts)]
        if not sum(len(identity) for identity, _, _ in parts):
            raise InputStopped(
                f"{path}: expected labels with {ID_COLUMN} (or {own}) and {truth_column or TRUTH_COLUMN} (1, 0, yes, "
                f"no, fraud, normal ...), found none in {self.unreadable:,} rows"
            )
        identity, is_fraud, time_ms = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        del parts
        if delay_ms is None and UNKNOWN in time_ms:
            raise WrongUsage(
                f"--labels {path}: expected {TIME_COLUMN} in each label, or --label-delay for those without"
            )
        super().__init__(identity, is_fraud, time_ms, delay_ms)

    def _part(
        self, path: Path, columns: dict[str, list[Any]]
    ) -> tuple[NDArray[np.uint64], NDArray[np.bool_], NDArray[np.int64]]:
        """Identity, truth and time of a batch's labels."""
        ids: list[str] = []
        truths: list[bool] = []
        times: list[int] = []
        for one, other, value, time in zip(*(columns[name] for name in ("id", "own", "truth", "time")), strict=True):
            name, truth = as_key(one) or as_key(other), truth_of(value)
            if name is None or truth is None:
                self.unreadable += 1
                continue
            ids.append(name)
            truths.append(truth)
            times.append(UNKNOWN if time is None else _time_ms(path, time, self._pattern))
        return hash_columns([ids])[0], np.array(truths, np.bool_), np.array(times, np.int64)


def _time_ms(path: Path, value: Any, pattern: str | None) -> int:
    """A label's own time; `pattern`: how the transactions write theirs, which it may follow."""
    forms: list[Callable[[Any], int]] = [int] if type(value) is int else [rfc3339_ms]
    if pattern is not None:
        forms.append(partial(pattern_ms, pattern=pattern))
    for read in forms:
        with suppress(TypeError, ValueError):
            time_ms = read(value)
            if EVENT_TIME_MIN_MS <= time_ms < EVENT_TIME_MAX_MS:
                return time_ms
    raise InputStopped(
        f"{path}: expected {TIME_COLUMN} in epoch milliseconds, as 2024-03-01T12:30:00Z"
        f"{f' or by input.time_format, {pattern}' if pattern else ''}, found {mask(str(value))!r}"
    )


class Schedule:
    """Labels of one partition that wait for their time, in buckets of `interval_ms` of event time."""

    def __init__(self, interval_ms: int) -> None:
        self._interval_ms = interval_ms
        self._waiting: dict[int, list[LabelBatch]] = {}
        self._newest_ms = 0
        self.learned = 0

    def segments(self, event_time_ms: NDArray[np.int64]) -> Iterator[tuple[int, int, LabelBatch | None]]:
        """(start, stop, labels to learn before it) of the rows: no label falls due inside a segment.

        Labels may be put in between two segments.
        """
        newest_ms = np.maximum(np.maximum.accumulate(event_time_ms), self._newest_ms)
        bucket = newest_ms // self._interval_ms
        starts = [0, *(np.flatnonzero(np.diff(bucket)) + 1).tolist()]
        if not len(bucket):
            return
        for start, stop in zip(starts, [*starts[1:], len(bucket)], strict=True):
            yield start, stop, self._due(int(bucket[start]))
        self._newest_ms = int(newest_ms[-1])

    def put(self, labels: LabelBatch) -> None:
        """Labels that arrive at their own event time."""
        bucket = -(-labels.event_time_ms // self._interval_ms)
        for one in np.unique(bucket).tolist():
            rows = bucket == one
            part = LabelBatch(labels.identity[rows], labels.is_fraud[rows], labels.event_time_ms[rows])
            self._waiting.setdefault(one, []).append(part)

    def _due(self, bucket: int) -> LabelBatch | None:
        due = [part for one in sorted(self._waiting) if one <= bucket for part in self._waiting.pop(one)]
        if not due:
            return None
        names = ("identity", "is_fraud", "event_time_ms")
        identity, is_fraud, time_ms = (np.concatenate([getattr(part, name) for part in due]) for name in names)
        order = np.argsort(time_ms, kind="stable")
        self.learned += len(order)
        return LabelBatch(identity[order], is_fraud[order], time_ms[order])

    @property
    def waiting(self) -> int:
        """Labels whose time has not come."""
        return sum(len(part) for parts in self._waiting.values() for part in parts)


def learning(
    settings: Settings, column: str | None, file: Path | None, delay_ms: int | None
) -> tuple[Settings, Labels | None]:
    """What the rows will be labelled by, None where nothing is to be learned; and settings that let labels be learned.

    Raises WrongUsage where it is not said where labels come from.
    """
    if file is None and delay_ms is None:
        return settings, None
    if file is None and column is None:
        raise WrongUsage("--label-delay: expected --labels or --labels-column beside it, found neither")
    labels = settings.labels.model_copy(update={"enabled": True})
    told = (
        FileLabels(file, settings.mapping, column, delay_ms)
        if file is not None
        else ColumnLabels(column or "", delay_ms or 0)
    )
    return settings.model_copy(update={"labels": labels}), told
