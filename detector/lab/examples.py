"""`detector lab explain`: some alerts of a file with their reasons, by what a column of it says of each row.

To read with a person's eyes whether the reasons are right: alerts of each fraud scenario, and false ones. Which alerts
are shown is drawn by a hash of their place, evenly over the file, the same at each run.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from detector.codec.masking import mask
from detector.core.budget import tie_breaks
from detector.core.compile import compile_kernels
from detector.lab.chunks import FileSource
from detector.lab.errors import NotConfigured
from detector.lab.fold import REJECTED, DecidedRows, Fold
from detector.lab.labels import LABEL_INTERVAL_MS, learning
from detector.lab.progress import Display
from detector.lab.replay import RejectWindow, ahead
from detector.settings import Settings
from schemas.files import text_columns
from schemas.members import Members
from schemas.times import rfc3339_text

VALUES_MAX = 50  # of the column: a scenario, a truth; not an id
SEED = 0


@dataclass(slots=True)
class Group:
    """Rows of one value: how many, how many alerts, and those drawn, each by its draw, as (row, lines)."""

    rows: int = 0
    alerts: int = 0
    drawn: list[tuple[float, int, list[str]]] = field(default_factory=list)


class Gallery:
    """Collects up to `alerts` alerts a value of `column`."""

    def __init__(self, column: str | None, alerts: int) -> None:
        self.column, self._alerts = column, alerts
        self._members = Members({"value": column}) if column is not None else None
        self._groups: dict[str, Group] = {}
        self.seen = 0

    def add(self, batch: Sequence[bytes | None], decided: DecidedRows) -> None:
        """The next rows. Raises NotConfigured where the column holds too many values."""
        payloads = [payload or b"" for payload in batch]
        values: list[Any] = self._members.columns(payloads)["value"] if self._members else [None] * len(batch)
        names = ["" if value is None else mask(str(value)) for value in values]
        for name, count in Counter(
            name for name, verdict in zip(names, decided.verdict.tolist(), strict=True) if verdict != REJECTED
        ).items():
            self._groups.setdefault(name, Group()).rows += count
        if len(self._groups) > VALUES_MAX:
            raise NotConfigured(f"--by {self.column}: expected at most {VALUES_MAX} values, found more; name another")
        rows = sorted(decided.reasons)
        draws = tie_breaks(self.seen + np.array(rows, np.int64), SEED)
        for row, draw in zip(rows, draws.tolist(), strict=True):
            group = self._groups[names[row]]
            group.alerts += 1
            heapq.heappush(group.drawn, (-draw, self.seen + row, _lines(decided, row)))
            if len(group.drawn) > self._alerts:
                heapq.heappop(group.drawn)
        self.seen += len(batch)

    def lines(self) -> list[str]:
        """What is printed: a heading a value, alerts in the order of the file.

        Raises NotConfigured where no row has a value in the column.
        """
        if self.column is not None and list(self._groups) == [""]:
            raise NotConfigured(f"--by {self.column}: expected a column with values, found none in {self.seen:,} rows")
        found = []
        for name in sorted(self._groups):
            group = self._groups[name]
            what = f"{self.column} = {name or 'nothing'}: " if self.column is not None else ""
            found += [f"## {what}{group.alerts:,} alerts among {group.rows:,} rows", ""]
            for _, _, lines in sorted(group.drawn, key=lambda item: item[1]):
                found += [*lines, ""]
        return found


def _lines(decided: DecidedRows, row: int) -> list[str]:
    at = rfc3339_text(int(decided.event_time_ms[row]))
    head = f"{decided.transaction_id[row]}  {at}  risk {decided.risk[row]:.1f}"
    return [head, *(f"  {number}. {text}" for number, text in enumerate(decided.reasons[row], start=1))]


def run(
    settings: Settings,
    source: Path,
    partitions: int = 1,
    *,
    column: str | None = None,
    alerts: int = 10,
    limit: int | None = None,
    labels_column: str | None = None,
    labels_file: Path | None = None,
    label_delay_ms: int | None = None,
) -> list[str]:
    """Decide the first `limit` rows of `source` and return what to print; labels are learned as `replay` learns them.

    Raises LabError, ConfigError.
    """
    settings, labels = learning(settings, labels_column, labels_file, label_delay_ms)
    rows = FileSource(source, settings.mapping, partitions, text_columns(settings.mapping), limit)
    fold = Fold(settings, settings.topics.transactions, partitions, labels, LABEL_INTERVAL_MS)
    gallery = Gallery(column, alerts)
    rejects = RejectWindow(settings.input.rejects_window_rows, settings.input.rejects_max_share)
    with Display(rows.rows) as display:
        compile_kernels(fold.spec, display.preparing)
        for chunk in ahead(rows.chunks(lambda _partition: False)):
            decided = fold.decide_at(chunk.payloads, chunk.partition, chunk.offset, chunk.record_time_ms)
            gallery.add(chunk.payloads, decided)
            rejects.add(decided)
            display.update(gallery.seen)
        rejects.end()
    notes = rows.notes()
    return [*notes, *([""] if notes else []), *gallery.lines()]
