"""Every metric of the detector, in one table: name, type, unit, labels, and what the number tells an operator.

Law: a name follows `detector_<noun>_<unit>[_total]`; labels are bounded by configuration or by code, and never hold an
entity (card, customer, merchant, terminal, device), whose number is unbounded and whose value is private.
`detector/METRICS.md` is generated from this table; a test fails where they differ, or where a metric is set nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from schemas.dead_letter import RejectReason

PREFIX = "detector_"

Kind = Literal["counter", "gauge", "histogram", "info"]

# Seconds. Dense between 10 and 100 ms, where the produce-to-alert objective lies.
LATENCY_BUCKETS = (
    0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0, 60.0, 300.0,
)  # fmt: skip
# Seconds. From the cost of one micro-batch to a poll interval that is all spent.
WORK_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
# Seconds. A restore reads a snapshot and up to one snapshot interval of input.
RESTORE_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
# Seconds. From a minute, where a machine gives the label, to half a year, in which a payment can be disputed.
LABEL_BUCKETS = (
    60.0, 600.0, 3_600.0, 21_600.0, 43_200.0, 86_400.0, 172_800.0, 345_600.0, 604_800.0, 1_209_600.0, 2_592_000.0,
    5_184_000.0, 7_776_000.0, 15_552_000.0,
)  # fmt: skip
ROW_BUCKETS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0, 30_000.0, 100_000.0)

# The values of labels that the code bounds: set to zero at start, so that a rate exists before the first event.
VERDICTS = ("pass", "review", "alert")
COMMIT_OUTCOMES = ("committed", "aborted", "fatal")
RESTORE_CAUSES = ("assigned", "aborted", "fatal")
STEPS = ("consume", "decode", "step", "publish", "commit", "labels")
LABEL_OUTCOMES = ("learned", "duplicate", "contradictory", "orphan")
QUANTILES = ("0.5", "0.9", "0.99", "0.999")


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric. `name` lacks the prefix; `values` lists the label values known beforehand (one label only)."""

    name: str
    kind: Kind
    unit: str
    help: str
    labels: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def full_name(self) -> str:
        """As Prometheus shows it."""
        return PREFIX + self.name


DEFINITIONS: tuple[Definition, ...] = (
    # -- what was decided ---------------------------------------------------------------------------------------------
    Definition(
        "transactions_total", "counter", "transactions",
        "Transactions decided and committed. Zero while the producers write means that the detector stands still: look "
        "at detector_lag_records and /ready.",
        ("verdict",), VERDICTS,
    ),
    Definition(
        "alerts_total", "counter", "alerts",
        "Alerts published and committed. Compare a day's increase with detector_alert_budget.",
    ),
    Definition(
        "dead_letters_total", "counter", "records",
        "Records set aside, untouched, on the dead-letter topic. One reason rising at once is a producer that changed "
        "its format; read the topic's headers for the field at fault.",
        ("reason",), tuple(RejectReason),
    ),
    Definition(
        "tombstones_total", "counter", "records",
        "Records without a value, counted and skipped. Unexpected on a transactions topic: look whether its producers "
        "delete by key, as they do on a compacted topic.",
    ),
    Definition(
        "late_transactions_total", "counter", "transactions",
        "Transactions older than the watermark: decided and marked late. Many of them call for a larger "
        "features.allowed_lateness, or for a look at the producers' clocks.",
    ),
    Definition(
        "labels_total", "counter", "labels",
        "Labels folded in and committed, by what became of them: `learned`; `duplicate`, told before; `contradictory`, "
        "told otherwise before, the last word wins; `orphan`, of no transaction remembered. Many orphans: the labels "
        "are keyed otherwise than transactions, name them otherwise, or come before they are in the log or after they "
        "are forgotten. Zero where labels.enabled is false.",
        ("outcome",), LABEL_OUTCOMES,
    ),
    Definition(
        "late_labels_total", "counter", "labels",
        "Learned labels older than the watermark: they count as arrived at it, for the features of their entities. "
        "Many of them: labels are held up on their way, their writers' clocks lag, or a backlog is worked off.",
    ),
    Definition(
        "label_delay_seconds", "histogram", "seconds",
        "From a transaction's event time to its label's, of each label learned. Where it nears the time that "
        "labels.pending_rows_max transactions take, labels become orphans: raise that.",
        buckets=LABEL_BUCKETS,
    ),
    # -- where we are in the log --------------------------------------------------------------------------------------
    Definition(
        "lag_records", "gauge", "records",
        "End offset minus the committed position, by partition. Growing for minutes means that more arrives than is "
        "decided: add processes, up to one a partition.",
        ("partition",),
    ),
    Definition(
        "labels_lag_records", "gauge", "records",
        "End offset of the labels topic minus the committed position, by partition. Labels wait while transactions of "
        "their time are still to be decided: look at detector_lag_records first. Absent where labels.enabled is false.",
        ("partition",),
    ),
    Definition(
        "labels_pending_rows", "gauge", "rows",
        "Decided transactions that are remembered for a label to come, over all tasks. At labels.pending_rows_max a "
        "task the oldest make room, and a label that comes later is an orphan: raise it where labels take longer.",
    ),
    Definition(
        "head_weight", "gauge", "share",
        "Share of the supervised head in the anomaly, 0 to 1, mean over the tasks: it grows with the frauds that "
        "labels have told. Falling back to 0: the state was made anew, or labels no longer come.",
    ),
    Definition(
        "boosted_swaps", "gauge", "swaps",
        "Times that boosted trees fitted to the labelled rows were swapped in, over the tasks held. It stands still "
        "while labels come: look for faults of the fit in the log.",
    ),
    Definition(
        "event_time_lag_seconds", "gauge", "seconds",
        "Wall clock minus the newest event time seen, by partition. Large with little lag in records: the producers "
        "are late, or write times in another unit or zone.",
        ("partition",),
    ),
    Definition(
        "assigned_partitions", "gauge", "partitions",
        "Input partitions that this process holds. Zero with a full group means more processes than partitions.",
    ),
    # -- how long it takes --------------------------------------------------------------------------------------------
    Definition(
        "end_to_end_seconds", "histogram", "seconds",
        "From a record's own timestamp to its decision being committed, that is, readable as read_committed. Floored "
        "by kafka.commit_interval_ms; clocks of producer and detector must agree.",
        buckets=LATENCY_BUCKETS,
    ),
    Definition(
        "processing_seconds", "histogram", "seconds",
        "One micro-batch from consumed to published, without the commit. High with large detector_batch_rows is "
        "catching up; high with small ones is a starved CPU.",
        buckets=WORK_BUCKETS,
    ),
    Definition(
        "commit_seconds", "histogram", "seconds",
        "One commit: flush, offsets and end of the Kafka transaction. Some milliseconds on a healthy broker; beyond a "
        "second, look at the broker's disks and at its transaction coordinator.",
        buckets=WORK_BUCKETS,
    ),
    Definition(
        "restore_seconds", "histogram", "seconds",
        "Reading a task's state back: newest snapshot, then the input up to the committed offset. Shorten it with a "
        "smaller snapshots.interval_s or snapshots.interval_rows.",
        buckets=RESTORE_BUCKETS,
    ),
    Definition(
        "snapshot_seconds", "histogram", "seconds",
        "Turning one task's state into snapshot bytes and producing them. It delays the commit it is part of; if that "
        "hurts latency, use more partitions or a longer snapshots.interval_s.",
        buckets=WORK_BUCKETS,
    ),
    Definition(
        "step_cpu_seconds_total", "counter", "seconds",
        "CPU seconds of the processing thread by step of the straight line. Divide its rate by that of transactions "
        "for CPU a transaction; the largest step is the one to tune.",
        ("step",), STEPS,
    ),
    Definition(
        "batch_rows", "histogram", "rows",
        "Transactions in one micro-batch. Near the upper bound all the time: the detector is catching up or saturated.",
        buckets=ROW_BUCKETS,
    ),
    # -- whether it holds ---------------------------------------------------------------------------------------------
    Definition(
        "commits_total", "counter", "commits",
        "Ends of Kafka transactions by outcome. Aborted ones are redone and lose nothing, yet each costs a restore; "
        "fatal ones replace the producer. Either rising steadily points at the broker or at a twin with the same "
        "kafka.instance_id.",
        ("outcome",), COMMIT_OUTCOMES,
    ),
    Definition(
        "restores_total", "counter", "restores",
        "Tasks restored, by cause. Frequent restores after assignment mean that members of the group come and go: look "
        "for restarts and for poll intervals overrun.",
        ("cause",), RESTORE_CAUSES,
    ),
    # -- the state ----------------------------------------------------------------------------------------------------
    Definition(
        "state_entities", "gauge", "entities",
        "Entities remembered, by kind, over this process's tasks. At its entities.slots_max the least recently seen "
        "are forgotten.",
        ("entity",),
    ),
    Definition(
        "state_slots", "gauge", "entities",
        "Room for entities, by kind: entities.slots_max times this process's tasks. The bound of "
        "detector_state_entities.",
        ("entity",),
    ),
    Definition(
        "state_bytes", "gauge", "bytes",
        "Bytes of state held by this process's tasks. Snapshots and restores grow with it; it is bounded by "
        "entities.slots_max.",
    ),
    Definition(
        "evicted_entities_total", "counter", "entities",
        "Entities forgotten to make room. A steady rate weakens every feature that compares with a past: raise "
        "entities.slots_max or add partitions.",
    ),
    Definition(
        "snapshot_bytes", "gauge", "bytes",
        "Size of the newest snapshot of one task. Written to the snapshots topic once an interval, in chunks.",
    ),
    # -- the decision -------------------------------------------------------------------------------------------------
    Definition(
        "alert_threshold_risk", "gauge", "risk",
        "Risk score (0-1000) needed for an alert now, mean over this process's tasks. At decision.alert_risk_min the "
        "budget is not binding; near 1000 it is all but spent.",
    ),
    Definition(
        "alert_budget", "gauge", "alerts",
        "Alerts allowed in the current event-time day, over this process's tasks. 0 where no budget is declared.",
    ),
    Definition(
        "alerts_spent", "gauge", "alerts",
        "Alerts of the current event-time day, over this process's tasks. Near detector_alert_budget early in the day: "
        "an attack, or a change in the input that looks like one.",
    ),
    Definition(
        "event_day_seconds", "gauge", "seconds",
        "Seconds of the current event-time day (UTC) gone by, latest over this process's tasks. Divided by 86400 it is "
        "the share of the budget that a steady stream would have spent.",
    ),
    Definition(
        "score_quantile", "gauge", "score",
        "Quantiles of the anomaly score (0-1), mean over this process's tasks. A median that moves is drift of the "
        "input; a 0.999 that sinks to the median is a model that no longer tells apart.",
        ("quantile",), QUANTILES,
    ),
    # -- whether the input stays what it was ---------------------------------------------------------------------------
    Definition(
        "feature_drift_psi", "gauge", "psi",
        "Population stability index of each feature that a model looks at, the last whole event-time day against the "
        "week before, highest over this process's tasks. 0.1 is a small move, 0.25 a large one: look for a producer "
        "that changed, or a habit that did.",
        ("feature",),
    ),
    Definition(
        "score_mean", "gauge", "score",
        "Mean anomaly score (0-1) of each member since its last change of level (ADWIN), over this process's tasks. It "
        "starts anew with the process; compare it over weeks.",
        ("member",),
    ),
    Definition(
        "score_drifts_total", "counter", "drifts",
        "Times that a member's scores were found to have changed their level (ADWIN). A daily rhythm counts too: a "
        "rate that rises above its own past, with detector_feature_drift_psi high, is drift.",
        ("member",),
    ),
    Definition(
        "label_error_mean", "gauge", "error",
        "Mean error (0-1) of the supervised head about newly labelled transactions, before it learned them, since its "
        "last change (ADWIN). Rising: fraud looks other than it did, or the labels do.",
    ),
    Definition(
        "label_error_drifts_total", "counter", "drifts",
        "Times that the supervised head's error about new labels was found to have changed its level (ADWIN). Look "
        "whether detector_label_error_mean rose, and who writes the labels.",
    ),
    # -- what runs ----------------------------------------------------------------------------------------------------
    Definition(
        "ready_state", "gauge", "boolean",
        "1 when /ready answers 200: restored, and both ends connected. 0 for minutes: ask /ready for its reasons.",
    ),
    Definition(
        "start_seconds", "gauge", "seconds",
        "From the start of the service, imports done, to its first being ready; 0 before. Long with a cold kernel "
        "cache: keep DETECTOR_CACHE_DIR over restarts.",
    ),
    Definition(
        "build_info", "info", "info",
        "Always 1; labels tell the versions of the detector, Python, confluent-kafka and librdkafka. Differing over "
        "the processes of a group: a roll-out is under way or stuck.",
        ("version", "python", "confluent_kafka", "librdkafka"),
    ),
    Definition(
        "model_info", "info", "info",
        "Always 1; labels tell the spec fingerprint, which alerts carry, the state fingerprint, which a saved state "
        "must have, and the model's members. Processes of one group must agree, else their alerts are not comparable.",
        ("spec_fingerprint", "state_fingerprint", "members"),
    ),
)  # fmt: skip


def as_markdown() -> str:
    """The table as the document `detector/METRICS.md`."""
    lines = [
        "# Metrics",
        "",
        "Generated by `python -m detector.observe.definitions`; a test fails where this file and the code differ.",
        "Scrape `GET /metrics` (default `127.0.0.1:9464`, section `[http]` of the configuration). Besides these, Linux",
        "shows `process_cpu_seconds_total`, `process_resident_memory_bytes` and the other `process_` metrics.",
        "",
        "| metric | type | unit | labels | what it tells, and what to do |",
        "|---|---|---|---|---|",
    ]
    for item in DEFINITIONS:
        labels = ", ".join(f"`{label}`" for label in item.labels) or "–"
        if item.values:
            labels += " (" + ", ".join(item.values) + ")"
        lines.append(f"| `{item.full_name}` | {item.kind} | {item.unit} | {labels} | {item.help} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(as_markdown(), end="")
