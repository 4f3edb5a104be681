"""What the open transaction has done, counted when it is committed and forgotten when it is not."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from detector.codec.decode import Decoded, Reject
from detector.core.batch import DecisionBatch, Verdict
from detector.core.labels import LabelTally
from detector.kafka.records import Records
from detector.observe.definitions import LABEL_OUTCOMES
from detector.observe.metrics import Metrics

VERDICTS = {verdict: verdict.name.lower() for verdict in Verdict}


@dataclass(slots=True)
class Tally:
    """Counts since the last commit. `first_s`: monotonic time of the first record, None while empty."""

    rows: int = 0
    first_s: float | None = None
    verdicts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(Verdict), dtype=np.int64))
    late: int = 0
    tombstones: int = 0
    rejects: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    late_labels: int = 0
    record_time_ms: list[NDArray[np.int64]] = field(default_factory=list)
    scores: list[NDArray[np.float64]] = field(default_factory=list)
    label_errors: list[NDArray[np.float64]] = field(default_factory=list)
    label_delays_s: list[NDArray[np.float64]] = field(default_factory=list)
    batch_rows: list[int] = field(default_factory=list)
    processing_s: list[float] = field(default_factory=list)

    def add(self, records: Records, decoded: Decoded, decisions: DecisionBatch) -> None:
        """One micro-batch of one task."""
        self.rows += len(records)
        self.verdicts += np.bincount(decisions.verdict, minlength=len(Verdict))
        self.late += int(np.count_nonzero(decisions.late))
        self.tombstones += decoded.tombstones
        for reject in decoded.rejects:
            self.rejects[reject.reason.value] += 1
        self.record_time_ms.append(records.record_time_ms)
        self.batch_rows.append(len(records))
        self.scores.append(decisions.score)

    def add_labels(self, tally: LabelTally, rejects: list[Reject]) -> None:
        """One cut of one task."""
        self.labels.update({outcome: getattr(tally, outcome) for outcome in LABEL_OUTCOMES})
        self.rejects.update(reject.reason.value for reject in rejects)
        self.late_labels += tally.late
        self.label_errors.append(tally.error)
        self.label_delays_s.append(tally.delay_s)

    def publish(self, metrics: Metrics, commit_seconds: float) -> None:
        """Into the metrics; call after the commit, and only then."""
        for verdict, name in VERDICTS.items():
            if count := int(self.verdicts[verdict]):
                metrics.transactions_total.labels(name).inc(count)
        metrics.alerts_total.inc(int(self.verdicts[Verdict.ALERT]))
        metrics.late_transactions_total.inc(self.late)
        metrics.tombstones_total.inc(self.tombstones)
        for reason, count in self.rejects.items():
            metrics.dead_letters_total.labels(reason).inc(count)
        for outcome, count in self.labels.items():
            metrics.labels_total.labels(outcome).inc(count)
        metrics.late_labels_total.inc(self.late_labels)
        if self.label_errors:
            metrics.observe_label_errors(np.concatenate(self.label_errors))
            metrics.label_delay_seconds.observe_many(np.concatenate(self.label_delays_s))
        if self.record_time_ms:
            times = np.concatenate(self.record_time_ms)
            metrics.end_to_end_seconds.observe_many(time.time() - times[times > 0] / 1e3)
            metrics.observe_scores(np.concatenate(self.scores, axis=1))
            metrics.batch_rows.observe_many(self.batch_rows)
            metrics.processing_seconds.observe_many(self.processing_s)
        metrics.commit_seconds.observe(commit_seconds)
        metrics.commits_total.labels("committed").inc()
