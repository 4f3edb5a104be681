"""What a replay comes to: counts, alerts a day, rejects with an example each, and quality where the truth is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from detector.codec.decode import Reject
from detector.core.batch import Verdict
from detector.core.labels import LabelTally
from detector.lab.fold import REJECTED, VERDICTS, DecidedRows, fault
from detector.lab.labels import FileLabels, Labels
from detector.lab.quality import average_precision, roc_auc
from schemas.times import rfc3339_text


@dataclass(slots=True)
class Tally:
    """Adds up decided rows."""

    rows: int = 0
    late: int = 0
    verdicts: Counter[int] = field(default_factory=Counter)
    alerts_by_day: Counter[int] = field(default_factory=Counter)  # over all days that the stream went through
    rejects: Counter[str] = field(default_factory=Counter)
    examples: dict[str, tuple[int, Reject]] = field(default_factory=dict)

    def add(self, decided: DecidedRows) -> None:
        """The next rows."""
        codes, counts = np.unique(decided.verdict, return_counts=True)
        self.verdicts.update(dict(zip(codes.tolist(), counts.tolist(), strict=True)))
        self.late += int(decided.late.sum())
        for day in np.unique(decided.day[decided.verdict != REJECTED]).tolist():
            self.alerts_by_day[day] += int(((decided.day == day) & (decided.verdict == Verdict.ALERT)).sum())
        for row, reject in decided.rejects.items():
            self.rejects[reject.reason.value] += 1
            self.examples.setdefault(reject.reason.value, (self.rows + row, reject))
        self.rows += len(decided)

    def lines(self) -> list[str]:
        """The summary, line by line."""
        told = {VERDICTS[code]: self.verdicts[code] for code in sorted(VERDICTS, reverse=True)}
        counts = ", ".join(f"{count:,} {name}" for name, count in told.items() if count or name != VERDICTS[REJECTED])
        lines = [f"{self.rows:,} rows: {counts}" + (f"; {self.late:,} late" if self.late else "")]
        if self.alerts_by_day:
            alerts = sorted(self.alerts_by_day.values())
            first, last = (rfc3339_text(day * 86_400_000)[:10] for day in _ends(self.alerts_by_day))
            lines.append(
                f"alerts a day: {alerts[0]:,} to {alerts[-1]:,}, median {alerts[len(alerts) // 2]:,}, over "
                f"{len(alerts):,} day(s) that the stream was in, from {first} to {last}"
            )
        for reason, count in self.rejects.most_common():
            row, reject = self.examples[reason]
            lines.append(f"rejected {count:,}: {reason}, first in row {row:,}: {fault(reject)}")
        return lines


@dataclass(slots=True)
class Truths:
    """Keeps what quality is reckoned from: verdict, risk and scores of every row of known truth, some 18 bytes each."""

    members: Sequence[str]
    unknown: int = 0
    fraud: list[NDArray[np.bool_]] = field(default_factory=list)
    verdict: list[NDArray[np.int8]] = field(default_factory=list)
    scores: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, decided: DecidedRows, truth: Sequence[bool | None]) -> None:
        """Truth of each row, None where unknown. Rejected rows have no score: they count as unknown."""
        known = np.fromiter((one is not None for one in truth), np.bool_, len(truth)) & (decided.verdict != REJECTED)
        self.unknown += int((~known).sum())
        self.fraud.append(np.fromiter(map(bool, truth), np.bool_, len(truth))[known])
        self.verdict.append(decided.verdict[known])
        self.scores.append(np.vstack([decided.risk, decided.score])[:, known])

    def figures(self) -> dict[str, float]:
        """Counts, `precision` and `recall` of the alerts, and of each score its `roc_auc` and `average_precision`.

        NaN where there is nothing to divide by.
        """
        if not self.fraud:
            return {"rows": 0.0, "frauds": 0.0, "unknown": 0.0}
        fraud, verdict = np.concatenate(self.fraud), np.concatenate(self.verdict)
        alert, review = verdict == Verdict.ALERT, verdict == Verdict.REVIEW
        caught = float((fraud & alert).sum())
        found = {
            "rows": float(len(fraud)),
            "frauds": float(fraud.sum()),
            "unknown": float(self.unknown),
            "alerts": float(alert.sum()),
            "reviews": float(review.sum()),
            "precision_of_reviews": _ratio(float((fraud & review).sum()), float(review.sum())),
            "precision": _ratio(caught, float(alert.sum())),
            "recall": _ratio(caught, float(fraud.sum())),
        }
        for position, name in enumerate(("risk_score", *self.members)):
            score = np.concatenate([scores[position] for scores in self.scores])
            found[f"roc_auc.{name}"] = roc_auc(fraud, score)
            found[f"average_precision.{name}"] = average_precision(fraud, score)
        return found


def quality_lines(figures: Mapping[str, float], column: str) -> list[str]:
    """Quality in words. `column`: where the truth came from."""
    rows, frauds = int(figures["rows"]), int(figures["frauds"])
    if not rows:
        return [f"no quality to tell: no decided row has a label by {column}; check the column's or the file's name"]
    if not frauds or frauds == rows:
        return [f"no quality to tell: by {column}, {frauds:,} of {rows:,} decided rows are fraud"]
    alerts = (
        f"quality by {column}: {frauds:,} frauds among {rows:,} rows ({frauds / rows:.3%}); of "
        f"{int(figures['alerts']):,} alerts {figures['precision']:.2%} are fraud (precision), of the frauds "
        f"{figures['recall']:.2%} are alerts (recall)"
    )
    if figures["reviews"]:
        alerts += f"; of {int(figures['reviews']):,} for review {figures['precision_of_reviews']:.2%} are fraud"
    names = [name.partition(".")[2] for name in figures if name.startswith("roc_auc.")]
    lines = [alerts]
    lines += [
        f"{name}: ROC AUC {figures['roc_auc.' + name]:.4f}, average precision "
        f"{figures['average_precision.' + name]:.4f}"
        for name in names
    ]
    if figures["unknown"]:
        lines.append(f"{int(figures['unknown']):,} rows left out: rejected, or neither fraud nor genuine by {column}")
    return lines


def label_lines(told: LabelTally, waiting: int, labels: Labels) -> list[str]:
    """What became of the labels, in words."""
    counts = f"labels: {told.learned:,} learned"
    for count, what in (
        (told.duplicate, "told before"),
        (told.contradictory, "told otherwise before"),
        (told.orphan, "of rows no longer remembered (labels.pending_rows_max)"),
        (waiting, "not yet arrived at the last row"),
    ):
        counts += f", {count:,} {what}" if count else ""
    lines = [counts]
    if isinstance(labels, FileLabels):
        if labels.count > labels.found:
            lines.append(f"{labels.count - labels.found:,} of {labels.count:,} labels name no row that was decided")
        if labels.unreadable:
            lines.append(
                f"{labels.unreadable:,} rows of the labels left out: without id, or saying neither fraud nor genuine"
            )
    return lines


def live_lines(enabled: bool, learned: bool) -> list[str]:
    """Where the replay learned labels and a live run by the same configuration would not, or the other way about."""
    if enabled and not learned:
        return ["labels.enabled is set, but none were learned: expected --labels or --labels-column with --label-delay"]
    if learned and not enabled:
        return ["labels were learned, but labels.enabled is false in the configuration: a live run would learn none"]
    return []


def _ends(days: Mapping[int, int]) -> tuple[int, int]:
    return min(days), max(days)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
