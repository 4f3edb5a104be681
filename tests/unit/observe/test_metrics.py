"""The metrics registry: each metric named by the grammar, documented, set somewhere, and folded as the table says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from detector.observe import definitions, drift, metrics
from detector.observe.definitions import DEFINITIONS, Definition
from detector.observe.metrics import Metrics

PACKAGE = Path(definitions.__file__).parents[1]
REGISTRY_FILES = (Path(definitions.__file__), Path(metrics.__file__))

UNITS = {
    "transactions",
    "alerts",
    "records",
    "seconds",
    "rows",
    "commits",
    "restores",
    "entities",
    "bytes",
    "risk",
    "psi",
    "drifts",
}
# Names that do not end in their unit, each with its reason.
UNIT_NOT_LAST = {
    "dead_letters_total": "a dead letter is a record, and the glossary's word",
    "tombstones_total": "a tombstone is a record, and Kafka's word",
    "labels_total": "a label is a record, and the contract's word",
    "late_labels_total": "a label is a record, and the contract's word",
    "state_slots": "slots is the glossary's word for room for an entity",
    "alert_budget": "alert budget is the glossary's word for alerts a day",
    "alerts_spent": "the counterpart of alert_budget",
    "score_quantile": "a score has no unit",
    "score_mean": "a score has no unit",
    "head_weight": "a share has no unit",
    "boosted_swaps": "counts swaps",
    "label_error_mean": "an error between 0 and 1 has no unit",
    "ready_state": "a flag has no unit",
    "assigned_partitions": "counts partitions",
    "build_info": "an info metric has no unit",
    "model_info": "an info metric has no unit",
}
ENTITY_LABELS = {"card", "card_id", "customer", "customer_id", "merchant", "terminal", "device", "ip", "transaction_id"}


@pytest.mark.parametrize("item", DEFINITIONS, ids=lambda item: item.name)
def test_name_follows_the_grammar(item: Definition) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)+", item.name)
    assert item.name.endswith("_total") == (item.kind == "counter")
    assert item.name.endswith("_info") == (item.kind == "info")
    stem = item.name.removesuffix("_total")
    if item.name not in UNIT_NOT_LAST:
        assert stem.split("_")[-1] in UNITS, f"{item.name}: expected its unit last, one of {sorted(UNITS)}"
        assert stem.split("_")[-1] == item.unit
    assert not ENTITY_LABELS & set(item.labels)
    assert bool(item.buckets) == (item.kind == "histogram")
    assert not item.values or len(item.labels) == 1


@pytest.mark.parametrize("item", DEFINITIONS, ids=lambda item: item.name)
def test_help_advises_the_operator(item: Definition) -> None:
    assert 60 <= len(item.help) <= 400
    assert item.help.endswith(".")
    assert item.help.count(". ") + item.help.count(": ") + item.help.count("; ") >= 1, "say what it is and what to do"


def test_names_are_unique_and_exceptions_live() -> None:
    names = [item.name for item in DEFINITIONS]
    assert len(set(names)) == len(names)
    assert set(names) >= set(UNIT_NOT_LAST)


def test_document_is_the_table() -> None:
    document = (PACKAGE / "METRICS.md").read_text(encoding="utf-8")
    assert document == definitions.as_markdown(), "run: python -m detector.observe.definitions > detector/METRICS.md"


def test_each_metric_is_set_somewhere() -> None:
    """By a shell, or by a method of the registry that a shell calls."""
    sources = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py") if path not in REGISTRY_FILES}
    elsewhere = "\n".join(sources.values())
    tree = ast.parse(Path(metrics.__file__).read_text(encoding="utf-8"))
    registry = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Metrics")
    touches = {
        method.name: {node.attr for node in ast.walk(method) if isinstance(node, ast.Attribute)}
        for method in registry.body
        if isinstance(method, ast.FunctionDef)
    }
    called = [name for name in touches if re.search(rf"\.{name}\(", elsewhere)]
    folded = set().union(*(touches[name] for name in called))
    folded |= set().union(*(touches[name] for name in folded & set(touches)))
    unset = [
        item.name for item in DEFINITIONS if item.name not in folded and not re.search(rf"\.{item.name}\b", elsewhere)
    ]
    assert not unset, f"declared, documented, and set nowhere in detector/: {unset}"


def test_attributes_are_the_table() -> None:
    assert set(Metrics.__annotations__) == {item.name for item in DEFINITIONS}
    one = Metrics()
    for item in DEFINITIONS:
        assert getattr(one, item.name) is not None


def test_two_registries_live_side_by_side() -> None:
    one, two = Metrics(), Metrics(CollectorRegistry())
    one.alerts_total.inc(3)
    assert one.registry.get_sample_value("detector_alerts_total") == 3
    assert two.registry.get_sample_value("detector_alerts_total") == 0


def test_known_label_values_start_at_zero_so_that_rates_see_the_first_event() -> None:
    shown = generate_latest(Metrics().registry).decode()
    for item in DEFINITIONS:
        for value in item.values:
            assert f'{item.full_name}{{{item.labels[0]}="{value}"}} 0.0' in shown
    assert "_created" not in shown


def test_process_metrics_are_shown() -> None:
    registry = Metrics().registry
    assert (registry.get_sample_value("process_resident_memory_bytes") or 0) > 1e6
    assert (registry.get_sample_value("process_cpu_seconds_total") or 0) > 0


def test_info_metrics_are_one_and_replaced() -> None:
    one = Metrics()
    one.set_build("2.16.1", "2.16.0")
    one.set_model("aaaa", "bbbb", ["half_space_trees", "half_space_trees"])
    one.set_model("cccc", "bbbb", ["half_space_trees"])
    shown = generate_latest(one.registry).decode()
    assert 'librdkafka="2.16.0"' in shown
    labels = {"spec_fingerprint": "cccc", "state_fingerprint": "bbbb", "members": "half_space_trees"}
    assert one.registry.get_sample_value("detector_model_info", labels) == 1
    assert "aaaa" not in shown


def _task(spent: float, evicted: float, median: float, at_ms: float) -> dict[str, float]:
    return {
        "entities.card": 10.0, "alerts_spent": spent, "alerts_budget": 50.0, "evicted": evicted,
        "alert_threshold": 900.0 + spent, "score_quantile.0.5": median, "event_time_ms_max": at_ms,
    }  # fmt: skip


def test_tasks_are_folded() -> None:
    one = Metrics()
    noon_ms = 1_700_000_000_000 // 86_400_000 * 86_400_000 + 43_200_000
    one.set_tasks({0: _task(1, 5, 0.2, noon_ms), 3: _task(3, 0, 0.4, noon_ms - 60_000)}, 1_000, {"card": 100})
    value = one.registry.get_sample_value
    assert value("detector_assigned_partitions") == 2
    assert value("detector_state_bytes") == 1_000
    assert value("detector_state_entities", {"entity": "card"}) == 20
    assert value("detector_state_slots", {"entity": "card"}) == 200
    assert value("detector_alerts_spent") == 4
    assert value("detector_alert_budget") == 100
    assert value("detector_alert_threshold_risk") == 902
    assert value("detector_event_day_seconds") == 43_200
    assert value("detector_score_quantile", {"quantile": "0.5"}) == pytest.approx(0.3)
    assert value("detector_feature_drift_psi", {"feature": "amount"}) is None
    one.set_tasks({0: {"drift.amount": 0.3}, 3: {"drift.amount": 0.1, "drift.card.sum.7d": 0.2}}, 1_000, {})
    assert value("detector_feature_drift_psi", {"feature": "amount"}) == 0.3
    assert value("detector_feature_drift_psi", {"feature": "card.sum.7d"}) == 0.2


def test_what_labels_taught_is_folded() -> None:
    one = Metrics()
    figures = {"head_weight": 0.5, "labels_pending_rows": 10.0, "boosted_swaps": 1.0}
    one.set_tasks({0: figures, 1: figures | {"head_weight": 0.1}}, 1_000, {})
    value = one.registry.get_sample_value
    assert value("detector_labels_pending_rows") == 20
    assert value("detector_head_weight") == pytest.approx(0.3)
    assert value("detector_boosted_swaps") == 2


def test_a_change_of_the_scores_level_is_counted() -> None:
    one = Metrics()
    one.set_model("aaaa", "bbbb", ["trees", "forest"])
    value, random = one.registry.get_sample_value, np.random.RandomState(1)
    score = random.random_sample((2, 40_000))
    score[0, 20_000:] = 0.5 + 0.5 * score[0, 20_000:]
    score[:, 0] = 0.0
    for part in np.array_split(score, 37, axis=1):
        one.observe_scores(part)
    assert value("detector_score_drifts_total", {"member": "trees"}) >= 1
    assert value("detector_score_drifts_total", {"member": "forest"}) == 0
    assert value("detector_score_mean", {"member": "trees"}) == pytest.approx(0.75, abs=0.06)
    assert value("detector_score_mean", {"member": "forest"}) == pytest.approx(0.5, abs=0.02)


def test_a_change_of_the_label_error_is_counted() -> None:
    one, random = Metrics(), np.random.RandomState(1)
    one.observe_label_errors(np.empty(0))
    for part in np.array_split(np.repeat([0.05, 0.4], 10_000) * random.random_sample(20_000), 50):
        one.observe_label_errors(part)
    assert (one.registry.get_sample_value("detector_label_error_drifts_total") or 0) >= 1
    assert 0.1 < (one.registry.get_sample_value("detector_label_error_mean") or 0) < 0.21


def test_adwin_is_river_s() -> None:
    from river.drift import ADWIN

    ours, theirs, random = drift.adwin(), ADWIN(delta=drift.DELTA), np.random.RandomState(2)
    for value in (random.random_sample(4_000) + np.repeat([0.0, 0.3], 2_000)).tolist():
        theirs.update(value)
        assert ours.update(value) == theirs.drift_detected
        if theirs.drift_detected:
            break
        assert ours.get_width() == theirs.width
    assert theirs.drift_detected


def test_evictions_before_the_task_was_ours_are_not_counted() -> None:
    one = Metrics()
    for evicted in (5, 8, 8, 9):
        one.set_tasks({0: _task(0, evicted, 0.1, 0)}, 1, {"card": 100})
    assert one.registry.get_sample_value("detector_evicted_entities_total") == 4
    one.drop_partition(0)
    one.set_tasks({0: _task(0, 100, 0.1, 0)}, 1, {"card": 100})
    assert one.registry.get_sample_value("detector_evicted_entities_total") == 4


def test_no_tasks_held() -> None:
    one = Metrics()
    one.set_tasks({0: _task(1, 5, 0.2, 0)}, 1_000, {"card": 100})
    one.set_tasks({}, 0, {"card": 100})
    assert one.registry.get_sample_value("detector_assigned_partitions") == 0
    assert one.registry.get_sample_value("detector_state_entities", {"entity": "card"}) == 0


def test_dropped_partition_shows_no_stale_lag() -> None:
    one = Metrics()
    one.lag_records.labels(0).set(7)
    one.lag_records.labels(10).set(8)
    one.event_time_lag_seconds.labels(0).set(7)
    one.drop_partition(0)
    one.drop_partition(99)
    assert one.registry.get_sample_value("detector_lag_records", {"partition": "0"}) is None
    assert one.registry.get_sample_value("detector_event_time_lag_seconds", {"partition": "0"}) is None
    assert one.registry.get_sample_value("detector_lag_records", {"partition": "10"}) == 8
