"""The alerts of one configuration, or those in which two differ, with the reasons of either: all in a CSV, some kept.

`change`: `gained`, by the new configuration alone; `lost`, by the current one alone; `kept`, by both. With one
configuration every alert is simply an `alert`.
"""

from __future__ import annotations

import csv
import heapq
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from detector.core.batch import Verdict
from detector.core.budget import tie_breaks
from detector.lab.errors import WrongUsage
from detector.lab.fold import VERDICTS, DecidedRows
from detector.lab.output import REASON_SEPARATOR
from schemas.times import rfc3339_text

DAY_MS = 86_400_000
SEED = 0
ALERT, GAINED, LOST, KEPT = "alert", "gained", "lost", "kept"
PLACE = ("change", "day", "event_time", "transaction_id", "partition", "offset", "amount", "truth")
TRUTHS = {1: "fraud", 0: "genuine", -1: ""}


class Changes:
    """A context manager; writes `path` as it goes."""

    def __init__(self, path: Path, shown_max: int, two: bool) -> None:
        """`shown_max`: rows kept of each kind, drawn evenly, the same at each run.

        Raises WrongUsage where `path` cannot be written.
        """
        self._path, self._shown_max, self._two = path, shown_max, two
        sides = ("new", "current") if two else ("",)
        names = [f"{name}_{side}".rstrip("_") for side in sides for name in ("risk", "verdict", "reasons")]
        self.columns: tuple[str, ...] = (*PLACE, *names)
        kinds = (GAINED, LOST, KEPT) if two else (ALERT,)
        self._drawn: dict[str, list[tuple[float, int, tuple[Any, ...]]]] = {kind: [] for kind in kinds}
        self.count = {kind: {"alerts": 0, "frauds": 0, "genuine": 0, "amount": 0.0} for kind in kinds}

    def __enter__(self) -> Self:
        try:
            self._file = self._path.open("w", newline="", encoding="utf-8")
        except OSError as error:
            raise WrongUsage(f"{self._path}: expected a place where it can be written: {error.strerror}") from error
        self._writer = csv.writer(self._file)
        self._writer.writerow(self.columns)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, decided: Sequence[DecidedRows], inside: Sequence[NDArray[np.bool_]], truth: NDArray[np.int8]) -> None:
        """The next rows, as each configuration decided them; `inside` (n,) each: in the days reported."""
        alert = [(one.verdict == Verdict.ALERT) & within for one, within in zip(decided, inside, strict=True)]
        for row in np.flatnonzero(np.logical_or.reduce(alert)).tolist():
            by = [bool(one[row]) for one in alert]
            kind = ALERT if not self._two else KEPT if all(by) else GAINED if by[0] else LOST
            self._put(kind, self._values(kind, decided, by.index(True), row, int(truth[row])))
            self._count(kind, float(decided[by.index(True)].amount[row]), int(truth[row]))

    @property
    def shown(self) -> dict[str, list[tuple[Any, ...]]]:
        """The rows kept of each kind, in log order."""
        return {
            kind: [values for _, _, values in sorted(rows, key=itemgetter(1))] for kind, rows in self._drawn.items()
        }

    def figures(self) -> dict[str, dict[str, float]]:
        """Alerts, frauds and genuine rows among them, and their money, of each kind."""
        return {kind: count | {"amount": round(count["amount"], 2)} for kind, count in self.count.items()}

    def _count(self, kind: str, amount: float, truth: int) -> None:
        count = self.count[kind]
        count["alerts"] += 1
        count["frauds"] += truth == 1
        count["genuine"] += truth == 0
        count["amount"] += 0.0 if amount != amount else amount

    def _put(self, kind: str, values: tuple[Any, ...]) -> None:
        self._writer.writerow(values)
        number, drawn = self.count[kind]["alerts"], self._drawn[kind]
        heapq.heappush(drawn, (-float(tie_breaks(np.array([number]), SEED)[0]), int(number), values))
        if len(drawn) > self._shown_max:
            heapq.heappop(drawn)

    def _values(self, kind: str, decided: Sequence[DecidedRows], by: int, row: int, truth: int) -> tuple[Any, ...]:
        rows = decided[by]
        amount = float(rows.amount[row])
        place = (
            *(kind, rfc3339_text(int(rows.day[row]) * DAY_MS)[:10], rfc3339_text(int(rows.event_time_ms[row]))),
            *(rows.transaction_id[row], int(rows.partition[row]), int(rows.offset[row])),
            *("" if amount != amount else amount, TRUTHS[truth]),
        )
        sides: list[Any] = []
        for one in decided:
            risk = float(one.risk[row])
            sides += ["" if risk != risk else round(risk, 3), VERDICTS[int(one.verdict[row])]]
            sides.append(REASON_SEPARATOR.join(one.reasons.get(row, ())))
        return (*place, *sides)
