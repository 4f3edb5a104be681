"""The rows of a table in the order in which a topic would bring them, with a time for each.

Two things a file may lack that a log has. Its rows may lie in no order of time: read so, nearly all would be late, and
no feature of a card would mean a thing; then they are put in order of their event times. It may have no event time at
all: then a row comes every 8.64 s, ten thousand a day. Both are told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from detector.lab.tables import Table
from detector.settings import Settings
from schemas.files import text_columns

ROW_EVERY_MS = 8_640
BEGIN_MS = 1_735_689_600_000  # 2025-01-01, of a table without a time
BEHIND_MS = 3_600_000
BEHIND_SHARE_MAX = 0.05  # of the rows may lie so far behind one before them
SORTED_ROWS_MAX = 2_000_000  # that are held in memory to be put in order
CHUNK_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class Batch:
    """n rows: `row` int64 (n,) in the file, from 0; their payloads; `time_ms` int64 (n,), the record times."""

    row: NDArray[np.int64]
    payloads: list[bytes]
    time_ms: NDArray[np.int64]


@dataclass(slots=True)
class Arrivals:
    """All rows of a table, or the first `rows` of the file. `choices` tells what was decided about time."""

    table: Table
    settings: Settings
    rows: int | None = None
    choices: list[str] = field(default_factory=list)
    span_ms: int | None = None  # from the first event to the last, where that is known beforehand
    _order: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if "event_time" not in self.settings.mapping.fields:
            self.choices.append("no event time: a row every 8.64 s is taken, in the order of the file")
            self.span_ms = None if self.total is None else ROW_EVERY_MS * self.total
            return
        times = self._times()
        if times is None:
            return
        known = times[~np.isnat(times)].astype(np.int64)
        self.span_ms = int(known.max() - known.min()) if len(known) else None
        behind = float((np.maximum.accumulate(known) - known > BEHIND_MS).mean()) if len(known) else 0.0
        if behind <= BEHIND_SHARE_MAX:
            return
        if len(times) > SORTED_ROWS_MAX:
            self.choices.append(
                f"{behind:.0%} of the rows lie more than an hour behind a row before them: expected the order of event "
                f"time; files of up to {SORTED_ROWS_MAX:,} rows are put in order, this one is read as it lies"
            )
            return
        self._order = np.argsort(times, kind="stable")
        self.choices.append(f"rows put in order of event time: in the file {behind:.0%} lie more than an hour behind")

    @property
    def total(self) -> int | None:
        """How many rows come; None where unknown."""
        if self.table.rows is None:
            return self.rows
        return self.table.rows if self.rows is None else min(self.rows, self.table.rows)

    def batches(self, batch_rows: int) -> Iterator[Batch]:
        """All rows, `batch_rows` at most at a time."""
        if self._order is None:
            first = 0
            for payloads in self._payloads(batch_rows):
                yield self._batch(first + np.arange(len(payloads)), payloads)
                first += len(payloads)
            return
        held = [payload for payloads in self._payloads(batch_rows) for payload in payloads]
        for start in range(0, len(self._order), batch_rows):
            row = self._order[start : start + batch_rows]
            yield self._batch(row, [held[one] for one in row.tolist()])

    def _batch(self, row: NDArray[np.int64], payloads: list[bytes]) -> Batch:
        mapped = "event_time" in self.settings.mapping.fields
        return Batch(row, payloads, np.full(len(row), -1, np.int64) if mapped else BEGIN_MS + ROW_EVERY_MS * row)

    def _payloads(self, batch_rows: int) -> Iterator[list[bytes]]:
        left = self.rows
        for payloads in self.table.payloads(batch_rows, text_columns(self.settings.mapping)):
            if left is None:
                yield payloads
                continue
            yield payloads[:left]
            left -= len(payloads)
            if left <= 0:
                return

    def _times(self) -> NDArray[np.datetime64] | None:
        """Event times as the table reads them (n,); None where it has no such column of times or numbers."""
        path, columns = self.settings.mapping.fields["event_time"], self.table.columns
        column = next((name for name in columns if self.table.path_of(name) == path), None)
        if column is None or columns[column] not in ("time", "number"):
            return None
        parts, left = [], self.rows
        for chunk in self.table.chunks(CHUNK_ROWS, [column]):
            values = chunk.column(0).to_numpy()[:left]
            if columns[column] == "number":
                scale = 1.0 if self.settings.mapping.time_format == "epoch_ms" else 1000.0
                absent = np.isnan(values.astype(np.float64))
                values = np.where(absent, 0, values.astype(np.float64) * scale).astype("datetime64[ms]")
                values[absent] = np.datetime64("NaT")
            parts.append(values.astype("datetime64[ms]"))
            if left is not None and (left := left - len(values)) <= 0:
                break
        return np.concatenate(parts) if parts else None
