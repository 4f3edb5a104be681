"""The metrics registry: one attribute for each row of the table in `definitions`, updated once a batch.

Law: metrics tell what is committed, never what may still be aborted; the shell calls them after the commit. No label
ever holds an entity.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib import metadata

import numpy as np
from numpy.typing import NDArray
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
)

from detector.observe.definitions import DEFINITIONS, QUANTILES, Definition
from detector.observe.drift import ScoreDrift
from detector.observe.histogram import BulkHistogram

DAY_MS = 86_400_000


class Metrics:
    """Every metric of one process, in `registry` (a new one where None). Names and meaning: `detector/METRICS.md`."""

    transactions_total: Counter
    alerts_total: Counter
    dead_letters_total: Counter
    tombstones_total: Counter
    late_transactions_total: Counter
    labels_total: Counter
    late_labels_total: Counter
    label_delay_seconds: BulkHistogram
    labels_lag_records: Gauge
    labels_pending_rows: Gauge
    head_weight: Gauge
    boosted_swaps: Gauge
    lag_records: Gauge
    event_time_lag_seconds: Gauge
    assigned_partitions: Gauge
    end_to_end_seconds: BulkHistogram
    processing_seconds: BulkHistogram
    commit_seconds: BulkHistogram
    restore_seconds: BulkHistogram
    snapshot_seconds: BulkHistogram
    step_cpu_seconds_total: Counter
    batch_rows: BulkHistogram
    commits_total: Counter
    restores_total: Counter
    state_entities: Gauge
    state_slots: Gauge
    state_bytes: Gauge
    evicted_entities_total: Counter
    snapshot_bytes: Gauge
    alert_threshold_risk: Gauge
    alert_budget: Gauge
    alerts_spent: Gauge
    event_day_seconds: Gauge
    score_quantile: Gauge
    feature_drift_psi: Gauge
    score_mean: Gauge
    score_drifts_total: Counter
    label_error_mean: Gauge
    label_error_drifts_total: Counter
    ready_state: Gauge
    start_seconds: Gauge
    build_info: Gauge
    model_info: Gauge

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        # Else each counter and label value shows a second series that nobody queries.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry(auto_describe=True) if registry is None else registry
        for definition in DEFINITIONS:
            setattr(self, definition.name, _create(definition, self.registry))
        ProcessCollector(registry=self.registry)
        self._evicted: dict[int, float] = {}
        self._drift: ScoreDrift | None = None
        self._label_drift: ScoreDrift | None = None

    def set_build(self, confluent_kafka: str, librdkafka: str) -> None:
        """Fill `build_info`; the versions of the client and its C library come from the shell that may import them."""
        self.build_info.clear()
        self.build_info.labels(_own_version(), platform.python_version(), confluent_kafka, librdkafka).set(1)

    def set_model(self, spec_fingerprint: str, state_fingerprint: str, members: Sequence[str]) -> None:
        """Fill `model_info`; `members` are names, such as `half_space_trees`, in score order."""
        self.model_info.clear()
        self.model_info.labels(spec_fingerprint, state_fingerprint, "+".join(members)).set(1)
        self._drift = ScoreDrift(members)

    def observe_scores(self, score: NDArray[np.float64]) -> None:
        """Scores (members, n) of rows that were committed, in the order of `set_model`."""
        if self._drift is None:
            return
        for member, changes in self._drift.update(score).items():
            self.score_drifts_total.labels(member).inc(changes)
        for member, mean in self._drift.means().items():
            self.score_mean.labels(member).set(mean)

    def observe_label_errors(self, error: NDArray[np.float64]) -> None:
        """How wrong the supervised head was about each newly labelled row (n,), 0 to 1."""
        if len(error) == 0:
            return
        if self._label_drift is None:
            self._label_drift = ScoreDrift(("label_error",))
        self.label_error_drifts_total.inc(sum(self._label_drift.update(error[None, :]).values()))
        for mean in self._label_drift.means().values():
            self.label_error_mean.set(mean)

    def set_tasks(
        self,
        tasks: Mapping[int, Mapping[str, float]],
        state_bytes: int,
        slots: Mapping[str, int],
    ) -> None:
        """Fold the gauges of all tasks held into those of the process.

        `tasks` maps a partition to `detector.core.state.gauges` of its task; `state_bytes` is the sum over tasks;
        `slots` the `slots_max` of each entity. Counts are summed, risk and score quantiles averaged. Meant for once a
        second, not once a batch.
        """
        self.assigned_partitions.set(len(tasks))
        self.state_bytes.set(state_bytes)
        values = list(tasks.values())
        for entity, slots_max in slots.items():
            self.state_entities.labels(entity).set(sum(task.get(f"entities.{entity}", 0.0) for task in values))
            self.state_slots.labels(entity).set(slots_max * len(values))
        self._count_evictions(tasks)
        self.alert_budget.set(sum(task.get("alerts_budget", 0.0) for task in values))
        self.alerts_spent.set(sum(task.get("alerts_spent", 0.0) for task in values))
        if not values:
            return
        if any("head_weight" in task for task in values):
            self.labels_pending_rows.set(sum(task.get("labels_pending_rows", 0.0) for task in values))
            self.head_weight.set(sum(task.get("head_weight", 0.0) for task in values) / len(values))
            self.boosted_swaps.set(sum(task.get("boosted_swaps", 0.0) for task in values))
        self.event_day_seconds.set(max(task.get("event_time_ms_max", 0.0) % DAY_MS for task in values) / 1_000)
        self.alert_threshold_risk.set(sum(task.get("alert_threshold", 0.0) for task in values) / len(values))
        for quantile in QUANTILES:
            known = [task[f"score_quantile.{quantile}"] for task in values if f"score_quantile.{quantile}" in task]
            if known:
                self.score_quantile.labels(quantile).set(sum(known) / len(known))

        drifts: dict[str, float] = {}
        for task in values:
            for name, index in task.items():
                if name.startswith("drift."):
                    feature = name.removeprefix("drift.")
                    drifts[feature] = max(drifts.get(feature, 0.0), index)
        for feature, index in drifts.items():
            self.feature_drift_psi.labels(feature).set(index)

    def drop_partition(self, partition: int) -> None:
        """Forget the series of a partition that this process no longer holds, lest its last lag be shown for ever."""
        self._evicted.pop(partition, None)
        for gauge in (self.lag_records, self.labels_lag_records, self.event_time_lag_seconds):
            if (str(partition),) in {labels for labels, _ in _children(gauge)}:
                gauge.remove(str(partition))

    def _count_evictions(self, tasks: Mapping[int, Mapping[str, float]]) -> None:
        """A task counts its evictions since its first record; what was evicted before we held it is not ours."""
        for partition, task in tasks.items():
            evicted = task.get("evicted", 0.0)
            self.evicted_entities_total.inc(max(0.0, evicted - self._evicted.get(partition, evicted)))
            self._evicted[partition] = evicted


def _create(definition: Definition, registry: CollectorRegistry) -> Counter | Gauge | BulkHistogram:
    if definition.kind == "histogram":
        histogram = BulkHistogram(definition.full_name, definition.help, definition.buckets)
        registry.register(histogram)
        return histogram
    kind = Counter if definition.kind == "counter" else Gauge
    metric = kind(definition.full_name, definition.help, definition.labels, registry=registry)
    for value in definition.values:
        metric.labels(value)
    return metric


def _children(gauge: Gauge) -> list[tuple[tuple[str, ...], float]]:
    return [(tuple(s.labels.values()), s.value) for family in gauge.collect() for s in family.samples]


def _own_version() -> str:
    try:
        return metadata.version("streaming-fraud-detector")
    except metadata.PackageNotFoundError:  # run from a source tree that is not installed
        return "unknown"
