"""`detector lab backtest`: what a configuration would have alerted, day by day, beside another and beside the truth.

Laws: the records go through the fold that runs live (`fold`), from an empty state on, so the decisions are those of a
live run that began where the records begin; records before the first day that is reported warm the state up. Both
configurations see the same records at the same places, each in a fold of its own. Memory does not grow with the input,
but by 9 bytes for each labelled row.

Days are those of the alert budget: event-time days (UTC) that the stream was in. A late row counts on the day on which
it was decided.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.codec.hashing import hash_columns
from detector.core.batch import Verdict
from detector.core.compile import compile_kernels
from detector.lab.changes import Changes
from detector.lab.chunks import Chunk, Source
from detector.lab.errors import InputStopped
from detector.lab.fold import REJECTED, DecidedRows, Fold
from detector.lab.labels import LABEL_INTERVAL_MS, UNKNOWN, HeldLabels, Labels
from detector.lab.progress import Display
from detector.lab.quality import average_precision, roc_auc
from detector.lab.replay import RejectWindow, ahead
from detector.settings import Settings
from schemas.members import Members, as_key

Floats = NDArray[np.float64]

# What is counted of a day; money is that of the labelled rows, in the input's own currencies added up as they are.
COUNTED = (
    *("rows", "alerts", "reviews", "labelled", "labelled_alerts", "frauds", "caught"),
    *("fraud_amount", "caught_amount", "false_amount"),
)
GENUINE = 0
BUDGET_KEPT = 0.1  # of the budget, to either side


@dataclass(frozen=True, slots=True)
class Days:
    """The days that are reported, both included; days since the epoch."""

    first: int | None = None
    last: int | None = None

    def holds(self, day: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of `day` (n,) are among them."""
        inside = np.ones(len(day), np.bool_)
        if self.first is not None:
            inside &= day >= self.first
        if self.last is not None:
            inside &= day <= self.last
        return inside


@dataclass(slots=True)
class Account:
    """What one configuration would have done: sums by day, and the ranking of the labelled rows."""

    name: str
    settings: Settings
    fold: Fold
    days: dict[int, Floats] = field(default_factory=dict)
    rejected: int = 0
    older: bool = False  # rows before the days reported were seen, so that the first of these is a whole one ...
    younger: bool = False  # ... and rows after them, so that the last one is
    _fraud: list[NDArray[np.bool_]] = field(default_factory=list)
    _risk: list[Floats] = field(default_factory=list)
    _figures: dict[str, Any] | None = None

    def add(self, rows: DecidedRows, truth: NDArray[np.int8], days: Days) -> NDArray[np.bool_]:
        """The next rows; which of them lie in the days reported (n,)."""
        self.rejected += len(rows.rejects)
        decided = rows.verdict != REJECTED
        inside: NDArray[np.bool_] = decided & days.holds(rows.day)
        self.older |= days.first is not None and bool((rows.day[decided] < days.first).any())
        self.younger |= days.last is not None and bool((rows.day[decided] > days.last).any())
        if not inside.any():
            return inside
        day, verdict, truth = rows.day[inside], rows.verdict[inside], truth[inside]
        alert, fraud, known = verdict == Verdict.ALERT, truth == 1, truth != UNKNOWN
        money = np.nan_to_num(rows.amount[inside], nan=0.0)
        columns = (
            *(np.ones(len(day)), alert, verdict == Verdict.REVIEW, known, known & alert, fraud, fraud & alert),
            *(money * fraud, money * (fraud & alert), money * ((truth == 0) & alert)),
        )
        for one in np.unique(day).tolist():
            of_day = day == one
            sums = np.array([float(column[of_day].sum()) for column in columns])
            self.days[one] = self.days.get(one, np.zeros(len(COUNTED))) + sums
        self._fraud.append(fraud[known])
        self._risk.append(rows.risk[inside][known])
        return inside

    @property
    def budget(self) -> int | None:
        """Alerts a day; None where there is no budget."""
        return self.fold.spec.decision.alerts_per_day

    def table(self) -> tuple[list[int], Floats]:
        """Days that the stream was in, in order, and their sums (days, len(COUNTED))."""
        order = sorted(self.days)
        return order, np.array([self.days[day] for day in order]).reshape(len(order), len(COUNTED))

    def figures(self) -> dict[str, Any]:
        """Sums over all days and what follows from them; None where there is nothing to divide by. Call at the end."""
        if self._figures is None:
            self._figures = self._reckoned()
        return self._figures

    def _reckoned(self) -> dict[str, Any]:
        days, table = self.table()
        found: dict[str, Any] = dict(zip(COUNTED, table.sum(axis=0).tolist(), strict=True))
        found = {name: round(value, 2) if "amount" in name else int(value) for name, value in found.items()}
        alerts = table[:, COUNTED.index("alerts")]
        found |= {
            "rejected": self.rejected,
            "days": len(days),
            "alerts_per_day": self.budget,
            "alerts_a_day_mean": _rounded(float(alerts.mean()) if len(days) else math.nan),
            "alerts_a_day_max": int(alerts.max()) if len(days) else 0,
            "precision": _ratio(found["caught"], found["labelled_alerts"]),
            "recall": _ratio(found["caught"], found["frauds"]),
            "money_recall": _ratio(found["caught_amount"], found["fraud_amount"]),
            "spec_fingerprint": self.fold.spec.fingerprint(),
        }
        if self.budget:
            whole = alerts[0 if self.older else 1 : len(alerts) if self.younger else -1]  # the others may be cut off
            off = np.abs(whole - self.budget) / self.budget
            found["whole_days"] = len(off)
            found["days_within_budget_10pct"] = int((off <= BUDGET_KEPT).sum())
            found["days_over_budget"] = int((alerts > self.budget).sum())
        if found["frauds"]:
            fraud, risk = np.concatenate(self._fraud), np.concatenate(self._risk)
            found["roc_auc"] = _rounded(roc_auc(fraud, risk))
            found["average_precision"] = _rounded(average_precision(fraud, risk))
        return found


def names_frauds_only(labels: Labels | None) -> bool:
    """Whether what has no label is not fraud, rather than unknown."""
    return isinstance(labels, HeldLabels) and labels.frauds_only


class Truth:
    """What the labels say of records, whether or not they are learned.

    Where labels name frauds only, as chargebacks do, all other rows count as genuine.
    """

    def __init__(self, labels: Labels | None, settings: Settings) -> None:
        self._labels = labels
        self._unnamed = GENUINE if names_frauds_only(labels) else UNKNOWN
        identity = settings.mapping.fields.get("transaction_id")
        self._members = Members({"id": identity} if identity is not None else {})
        self._mapped, self._topic = identity is not None, settings.topics.transactions

    def of(self, chunk: Chunk) -> NDArray[np.int8]:
        """1 fraud, 0 genuine, UNKNOWN (n,); the last word counts."""
        truth = np.full(len(chunk), self._unnamed, np.int8)
        if self._labels is None:
            return truth
        payloads = [payload or b"" for payload in chunk.payloads]
        told = self._labels.of(payloads, self._identity(payloads, chunk), np.zeros(len(chunk), np.int64))
        truth[told.row] = told.is_fraud
        return truth

    def _identity(self, payloads: list[bytes], chunk: Chunk) -> NDArray[np.uint64]:
        """As labels name the records: their own id, else topic-partition-offset."""
        ids = self._members.columns(payloads)["id"] if self._mapped else [None] * len(payloads)
        places = zip(ids, chunk.partition.tolist(), chunk.offset.tolist(), strict=True)
        names = [as_key(one) or f"{self._topic}-{part}-{offset}" for one, part, offset in places]
        identity: NDArray[np.uint64] = hash_columns([names])[0]
        return identity


@dataclass(slots=True)
class Backtest:
    """What came out: one account a configuration, the new one first, and the alerts in which they differ.

    `rows` read; `measured`: whether there were labels to measure by.
    """

    accounts: list[Account]
    changes: Changes
    rows: int
    measured: bool = False

    def figures(self) -> dict[str, Any]:
        """For figures.json."""
        found: dict[str, Any] = {"rows_read": self.rows}
        found |= {account.name: account.figures() for account in self.accounts}
        return found | ({"changes": self.changes.figures()} if len(self.accounts) > 1 else {})


def run(
    settings: Sequence[tuple[str, Settings]],
    source: Source,
    days: Days,
    alerts_file: Path,
    *,
    labels: Labels | None = None,
    label_interval_ms: int = LABEL_INTERVAL_MS,
    shown_max: int = 50,
) -> Backtest:
    """Decide all records of `source` by one configuration or two, each with its name.

    `labels` are measured against, and learned, late, by each configuration whose `labels.enabled` is set. All alerts go
    to `alerts_file`, `shown_max` of each kind are kept. Raises LabError, ConfigError, and what `source` does.
    """
    accounts = []
    for name, one in settings:
        fold = Fold(
            one, settings[0][1].topics.transactions, source.partitions, labels if one.labels.enabled else None,
            label_interval_ms,
        )  # fmt: skip
        accounts.append(Account(name, one, fold))
    rejects = [RejectWindow(one.input.rejects_window_rows, one.input.rejects_max_share) for _, one in settings]
    truth = Truth(labels, settings[0][1])
    newest = np.full((len(accounts), source.partitions), -1, np.int64)
    rows = 0
    with Display(source.rows) as display, Changes(alerts_file, shown_max, len(accounts) > 1) as changes:
        for account in accounts:
            compile_kernels(account.fold.spec, display.preparing)
        for chunk in ahead(source.chunks(lambda partition: _past(newest[:, partition], days))):
            told = truth.of(chunk)
            decided, inside = [], []
            for account, window, reached in zip(accounts, rejects, newest, strict=True):
                done = account.fold.decide_at(chunk.payloads, chunk.partition, chunk.offset, chunk.record_time_ms)
                window.add(done)
                decided.append(done)
                inside.append(account.add(done, told, days))
                np.maximum.at(reached, chunk.partition, done.day)
            changes.add(decided, inside, told)
            rows += len(chunk)
            display.update(rows)
        for window in rejects:
            window.end()
    if not any(account.days for account in accounts):
        raise InputStopped(f"{source.name}: expected rows in the days asked for, found none among {rows:,}")
    return Backtest(accounts, changes, rows, labels is not None)


def _past(newest_day: NDArray[np.int64], days: Days) -> bool:
    """Whether a partition's stream has left the days for good in all folds: a stream's day never goes back."""
    return days.last is not None and bool((newest_day > days.last).all())


def _ratio(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)
