"""The detector over a whole table, in chunks: each row decided, then learned; labels as late as they would come.

The code is the one that runs live (`fold`). Memory grows by some 60 bytes a row, whatever the file's columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core.batch import TransactionBatch
from detector.core.compile import Progress, compile_kernels
from detector.core.state import TaskState
from detector.lab.arrivals import Arrivals, Batch
from detector.lab.errors import InputStopped
from detector.lab.fold import REJECTED, DecidedRows, Fold
from detector.lab.labels import LABEL_INTERVAL_MS, ColumnLabels
from detector.lab.matrix import as_labels, card_key, cards_of, labelled
from detector.lab.memory import give_back
from detector.lab.meter import Meter
from detector.lab.replay import BATCH_ROWS
from detector.lab.roles import Roles
from detector.lab.tables import Table
from detector.settings import Settings
from schemas.members import Members

DETECTOR, MEMBER = "detector", "streaming:"
ROWS_FIRST = 1 << 23  # so many that the system, not the heap, has the memory from the first on
IDS_ROWS_MAX = 500_000  # of a file of no more rows all ids are kept, of a longer one those of alerts


@dataclass(slots=True)
class Prequential:
    """n accepted rows in the order of the log.

    `scores`: name → (n,), risk under `DETECTOR`, members under `MEMBER` and their kind; `label` int8 (n,), -1 unknown;
    `event_time_ms` int64 (n,); `row` uint32 (n,); `card` uint64 (n,), 0 where there is none; `amount` float64 (n,).
    `ids` and `reasons` by row, the latter of alerts.
    """

    scores: dict[str, NDArray[Any]]
    label: NDArray[np.int8]
    event_time_ms: NDArray[np.int64]
    card: NDArray[np.uint64]
    amount: NDArray[np.float64]
    row: NDArray[np.uint32]
    ids: dict[int, str]
    reasons: dict[int, list[str]]
    rejects: int = 0
    choices: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.label)


def run(
    table: Table,
    settings: Settings,
    roles: Roles,
    *,
    rows: int | None = None,
    label_delay_ms: int | None = None,
    arrivals: Arrivals | None = None,
    seen: Callable[[int], None] | None = None,
    progress: Progress | None = None,
    meter: Meter | None = None,
) -> Prequential:
    """Decide the first `rows` of the table (all by default); `seen` is told how many were decided.

    `meter` measures the deciding, without the compiling before it.

    With `label_delay_ms` and a label, labels are learned; `arrivals` of the table, where they were looked at before.
    Raises as `matrix.build`.
    """
    settings, path, labels = labelled(table, settings, roles, label_delay_ms)
    arrivals = arrivals or Arrivals(table, settings, rows)
    taken = _Pass(settings, path, labels)
    compile_kernels(taken.fold.spec, progress)
    give_back()  # the compiler takes hundreds of megabytes
    with meter or nullcontext():
        for batch in arrivals.batches(BATCH_ROWS):
            taken.take(batch)
            if seen is not None:
                seen(taken.seen)
    if not taken.kept:
        raise InputStopped(f"{table.path}: expected rows that are transactions, found none")
    found = taken.whole(arrivals.choices)
    del taken  # the detector's state
    give_back()
    return found


class Growing:
    """A column that grows in place, twice as long each time: what is not yet written takes no memory.

    Kept as the small arrays that it comes in, a long column takes its memory twice: what is freed of them when they
    are set together goes back to no one.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._data, self._rows = np.empty(ROWS_FIRST, dtype), 0

    def add(self, part: NDArray[Any]) -> None:
        """The next rows."""
        stop = self._rows + len(part)
        if stop > len(self._data):
            longer = np.empty(max(stop, 2 * len(self._data)), self._data.dtype)
            longer[: self._rows] = self.array
            self._data = longer
        self._data[self._rows : stop] = part
        self._rows = stop

    @property
    def array(self) -> NDArray[Any]:
        """All rows so far."""
        return self._data[: self._rows]


class _Pass:
    """Collects what is decided."""

    def __init__(self, settings: Settings, path: str | None, labels: ColumnLabels | None) -> None:
        self.fold = Fold(settings, settings.topics.transactions, 1, labels, LABEL_INTERVAL_MS)
        self.fold.look = self._look
        self._card_key = card_key(self.fold.spec)
        self._truth = Members({"label": path}) if path is not None else None
        self._columns: dict[str, Growing] = {}
        self._ids: dict[int, str] = {}
        self._reasons: dict[int, list[str]] = {}
        self.seen = self.kept = self._rejects = 0

    def _look(self, _state: TaskState, batch: TransactionBatch) -> None:
        self._put("card", cards_of(batch, self._card_key))

    def _put(self, name: str, part: NDArray[Any]) -> None:
        if name not in self._columns:
            self._columns[name] = Growing(part.dtype)
        self._columns[name].add(part)

    def take(self, batch: Batch) -> None:
        count = len(batch.payloads)
        offset = self.seen + np.arange(count)
        decided = self.fold.decide_at(batch.payloads, np.zeros(count, np.int64), offset, batch.time_ms)
        self.seen += count
        kept = np.flatnonzero(decided.verdict != REJECTED)
        found = {DETECTOR: decided.risk[kept], **self._members(decided, kept)}
        found |= {
            "label": self._labels([batch.payloads[index] for index in kept.tolist()]),
            "event_time_ms": decided.event_time_ms[kept],
            "amount": decided.amount[kept],
            "row": batch.row[kept].astype(np.uint32),
        }
        for name, column in found.items():
            self._put(name, column)
        place = dict(zip(kept.tolist(), range(self.kept, self.kept + len(kept)), strict=True))
        self._reasons |= {place[index]: told for index, told in decided.reasons.items()}
        self._ids |= {place[index]: decided.transaction_id[index] for index in self._named(place, decided)}
        self.kept += len(kept)
        self._rejects += len(decided.rejects)

    def _named(self, place: dict[int, int], decided: DecidedRows) -> Iterable[int]:
        """The rows whose ids are kept; of those before, too, where there are more than can be."""
        if self.kept + len(place) <= IDS_ROWS_MAX:
            return place
        if self.kept <= IDS_ROWS_MAX:
            self._ids = {row: name for row, name in self._ids.items() if row in self._reasons}
        return decided.reasons

    def _members(self, decided: DecidedRows, kept: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        pairs = zip(self.fold.members, decided.score, strict=True)
        return {f"{MEMBER}{name}": score[kept].astype(np.float32) for name, score in pairs}

    def _labels(self, payloads: list[bytes]) -> NDArray[np.int8]:
        return as_labels([None] * len(payloads) if self._truth is None else self._truth.columns(payloads)["label"])

    def whole(self, choices: list[str]) -> Prequential:
        columns = {name: column.array for name, column in self._columns.items()}
        plain = {name: columns.pop(name) for name in ("label", "event_time_ms", "card", "amount", "row")}
        told = [*choices, *([f"{self._rejects:,} rows left out: no transactions"] if self._rejects else [])]
        return Prequential(
            scores=columns, ids=self._ids, reasons=self._reasons, rejects=self._rejects, choices=told, **plain
        )
