"""A task's state: arrays, and nothing that is not in them survives a batch.

`saved_arrays` lists the arrays that a snapshot holds, cut to what is in use, so that equal histories give equal bytes
whatever the capacities; `from_saved` is its inverse (law: round trip). The index of an entity table is rebuilt, not
saved. `Plan` is what a spec compiles to; it holds nothing that changes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core import budget, drift, fusion, gate, profile, reservoir, surprise
from detector.core.entities import (
    EVICTED,
    PARTS,
    SLOTS,
    EntityTable,
    index_size,
    reindexed,
)
from detector.core.explain import Tellable, tellable
from detector.core.features import table_for
from detector.core.labels import ROWS_PUT, LabelState, label_gauges, new_label_state
from detector.core.models import Member, build_members
from detector.core.pending import RING, indexed
from detector.core.plan import EntityPlan, plan_entity
from detector.core.spec import Spec
from detector.core.trained import Head, build_heads

Array = NDArray[np.generic]

PLAIN = (
    *("clock", "meter", "ranks", "standing", "values", "counted", "histogram", "reference"),
    *("sample", "sampled", "places", "tails"),
)
"""Arrays of the state that are saved as they are."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A spec, compiled: feature plans and members with their splits drawn."""

    spec: Spec
    entities: tuple[EntityPlan, ...]
    members: tuple[Member, ...]
    profiled: NDArray[np.int64]  # feature columns that a member or the head looks at: these have a profile
    places: tuple[NDArray[np.int64], ...]  # of each member's columns among these
    watched: NDArray[np.bool_]  # (profiled,) those that a member looks at: their drift is told
    tellable: Tellable  # the same columns, as reasons
    weight: NDArray[np.float64]  # of each member in the fusion
    heads: tuple[Head, ...]  # trained elsewhere
    edges: NDArray[np.float64] = field(default_factory=profile.bin_edges)


@dataclass(slots=True)
class TaskState:
    """Mutable; owned by one task, folded forward by `step` alone."""

    plan: Plan
    clock: NDArray[np.int64]
    front_ms: NDArray[np.int64]  # (1,) highest event time prepared; what is decided catches up: clock[EVENT_MS]
    meter: NDArray[np.float64]
    ranks: NDArray[np.int64]  # Fenwick tree of fused scores, as long as the budget wants
    standing: NDArray[np.int64]  # the same for the risk: longer
    values: NDArray[np.int64]  # the same of rarity and money together; empty counts where money does not count
    counted: NDArray[np.int64]
    histogram: NDArray[np.int64]
    reference: NDArray[np.int64]  # cumulated histogram, frozen at the last pivot
    sample: NDArray[np.float32]  # the reservoir, of the profiled features
    sampled: NDArray[np.int64]
    places: NDArray[np.int32]  # histograms of the members' scores
    tails: NDArray[np.float32]  # surprise read from them, frozen at the last pivot
    gate: dict[str, Array]
    drift: dict[str, Array]  # histograms of the day and of the days before it
    tables: list[EntityTable]
    members: list[dict[str, Array]]
    labels: LabelState | None = None

    def nbytes(self) -> int:
        """Bytes held, spare capacity included."""
        own = [getattr(self, name) for name in PLAIN]
        tables = sum(array.nbytes for table in self.tables for array in table)
        members = sum(array.nbytes for arrays in self.members for array in arrays.values())
        drifts = sum(array.nbytes for array in (*self.drift.values(), *self.gate.values()))
        labels = self.labels.nbytes() if self.labels is not None else 0
        return sum(int(array.nbytes) for array in own) + tables + members + drifts + labels


def compile_plan(spec: Spec) -> Plan:
    """What `spec` says, as arrays that the kernels read."""
    members, profiled = build_members(spec)
    places = tuple(np.searchsorted(profiled, member.columns) for member in members)
    watched = np.isin(np.arange(len(profiled)), np.concatenate(places))
    entities = tuple(plan_entity(spec, entity) for entity in spec.entities)
    weight = np.array([member.weight for member in spec.members], np.float64)
    reasons = tellable(spec.features, profiled)
    return Plan(spec, entities, members, profiled, places, watched, reasons, weight, build_heads(spec))


def new_state(spec: Spec, partition: int = 0) -> TaskState:
    """The state of partition `partition`'s task before its first record."""
    plan = compile_plan(spec)
    clock = np.zeros(budget.CLOCK, np.int64)
    clock[[budget.EVENT_MS, budget.FIRST_MS]] = -1
    clock[budget.PARTITION] = partition
    meter = np.full(budget.METER, -1.0)
    meter[[budget.CHANCE, budget.ALLOWED, budget.LOG_GAIN, budget.LOG_AMOUNT]] = 0.0
    meter[budget.MEMORY] = budget.MEMORY_ROWS
    return TaskState(
        plan=plan,
        clock=clock,
        front_ms=np.array([-1]),
        meter=meter,
        ranks=np.zeros(fusion.BINS + 1, np.int64),
        standing=np.zeros(fusion.BINS + 1, np.int64),
        values=np.zeros(fusion.BINS + 1, np.int64),
        counted=np.zeros(2, np.int64),
        histogram=np.zeros((len(plan.profiled), profile.BINS), np.int64),
        reference=np.zeros((len(plan.profiled), profile.BINS + 1), np.int64),
        sample=np.zeros((reservoir.ROWS, len(plan.profiled)), np.float32),
        sampled=np.zeros(1, np.int64),
        places=np.zeros((len(plan.members), surprise.BINS), np.int32),
        tails=np.zeros((len(plan.members), surprise.BINS + 1), np.float32),
        gate=gate.new_arrays(),
        drift=drift.new_arrays(len(plan.profiled)),
        tables=[table_for(plan_) for plan_ in plan.entities],
        members=[member.new_arrays() for member in plan.members],
        labels=new_label_state(spec),
    )


def saved_arrays(state: TaskState) -> dict[str, Array]:
    """Every array of the state by name, cut to what is in use. Views: the next `step` may move what they show."""
    saved: dict[str, Array] = {name: getattr(state, name) for name in PLAIN}
    saved |= {f"gate.{name}": array for name, array in state.gate.items()}
    saved |= {f"drift.{name}": array for name, array in state.drift.items()}
    for plan, table in zip(state.plan.entities, state.tables, strict=True):
        saved |= _saved_table(f"entity.{plan.entity.name}.", table)
    for position, arrays in enumerate(state.members):
        saved |= {f"member.{position}.{name}": array for name, array in arrays.items()}
    if state.labels is not None:
        saved |= _saved_labels(state.labels)
    return saved


def _saved_table(prefix: str, table: EntityTable) -> dict[str, Array]:
    saved: dict[str, Array] = {prefix + "counter": table.counter}
    for used, names in PARTS.values():
        saved |= {prefix + name: getattr(table, name)[: table.counter[used]] for name in names}
    return saved


def _saved_labels(labels: LabelState) -> dict[str, Array]:
    saved: dict[str, Array] = {"labels.counter": labels.counter}
    rows = int(labels.counter[ROWS_PUT])
    saved |= {f"labels.pending.{name}": getattr(labels.pending, name)[:rows] for name in RING}
    saved |= {f"labels.head.{name}": array for name, array in labels.head.items()}
    saved |= {f"labels.boosted.{name}": array for name, array in labels.boosted.arrays.items()}
    saved |= {f"labels.boosted.rows.{name}": array for name, array in labels.boosted.rows.items()}
    for plan, table in zip(labels.plans, labels.tables, strict=True):
        saved |= _saved_table(f"labels.entity.{plan.entity.name}.", table)
    return saved


def from_saved(spec: Spec, saved: dict[str, Array]) -> TaskState:
    """A state that goes on just as the saved one would have. Raises KeyError or ValueError where arrays do not fit."""
    state = new_state(spec)
    for name in PLAIN:
        _fill(getattr(state, name), saved[name], name)
    for name, array in state.gate.items():
        _fill(array, saved[f"gate.{name}"], f"gate.{name}")
    for name, array in state.drift.items():
        _fill(array, saved[f"drift.{name}"], f"drift.{name}")
    state.front_ms[0] = state.clock[budget.EVENT_MS]
    for position, plan in enumerate(state.plan.entities):
        state.tables[position] = _restored_table(f"entity.{plan.entity.name}.", state.tables[position], saved)
    for position, arrays in enumerate(state.members):
        for name, array in arrays.items():
            _fill(array, saved[f"member.{position}.{name}"], f"member.{position}.{name}")
    if state.labels is not None:
        _restore_labels(state.labels, saved)
    return state


def _restored_table(prefix: str, empty: EntityTable, saved: dict[str, Array]) -> EntityTable:
    fields: dict[str, Any] = {
        name: _fitting(getattr(empty, name), saved[prefix + name]) for _, names in PARTS.values() for name in names
    }
    table = empty._replace(**fields | {"counter": saved[prefix + "counter"].copy()})
    return reindexed(table, index_size(int(table.counter[SLOTS])))


def _restore_labels(labels: LabelState, saved: dict[str, Array]) -> None:
    _fill(labels.counter, saved["labels.counter"], "labels.counter")
    for name, array in labels.head.items():
        _fill(array, saved[f"labels.head.{name}"], f"labels.head.{name}")
    for name, array in labels.boosted.arrays.items():
        _fill(array, saved[f"labels.boosted.{name}"], f"labels.boosted.{name}")
    labels.boosted.rows = {name: saved[f"labels.boosted.rows.{name}"].copy() for name in labels.boosted.rows}
    ring: dict[str, Any] = {
        name: _fitting(getattr(labels.pending, name), saved[f"labels.pending.{name}"]) for name in RING
    }
    labels.pending = indexed(labels.pending._replace(**ring), int(labels.counter[ROWS_PUT]))
    for position, plan in enumerate(labels.plans):
        prefix = f"labels.entity.{plan.entity.name}."
        labels.tables[position] = _restored_table(prefix, labels.tables[position], saved)


def _fill(target: Array, source: Array, name: str) -> None:
    if target.shape != source.shape or target.dtype != source.dtype:
        raise ValueError(f"{name}: expected {target.dtype} {target.shape}, found {source.dtype} {source.shape}")
    target[...] = source


def _fitting(empty: Array, source: Array) -> Array:
    """A saved array with the least capacity that kernels expect."""
    if empty.dtype != source.dtype or empty.shape[1:] != source.shape[1:]:
        raise ValueError(f"expected {empty.dtype} rows of {empty.shape[1:]}, found {source.dtype} {source.shape[1:]}")
    if len(empty) <= len(source) or len(empty) == 0:
        return source.copy()
    fitted = np.zeros_like(empty)
    fitted[: len(source)] = source
    return fitted


def gauges(spec: Spec, state: TaskState) -> dict[str, float]:
    """Figures for the metrics; reading them changes nothing."""
    clock, meter = state.clock, state.meter
    figures = {
        "event_time_ms_max": float(clock[budget.EVENT_MS]),
        "watermark_ms": float(clock[budget.EVENT_MS] - spec.allowed_lateness_ms),
        "alerts_spent": float(clock[budget.SPENT]),
        "alerts_budget": float(meter[budget.ALLOWED]),
        "alert_threshold": max(
            spec.decision.alert_risk_min, 1000.0 * (1.0 - float(meter[budget.CHANCE] * np.exp(meter[budget.LOG_GAIN])))
        ),
        "evicted": float(sum(table.counter[EVICTED] for table in state.tables)),
        "model_version": float(state.plan.members[0].pivots(state.members[0])),
    }
    if spec.decision.alerts_per_day is None:
        figures["alert_threshold"] = spec.decision.alert_risk_min
    for plan, table in zip(state.plan.entities, state.tables, strict=True):
        figures[f"entities.{plan.entity.name}"] = float(table.counter[SLOTS])
    watched = state.plan.watched
    for column, index in zip(
        state.plan.profiled[watched].tolist(), state.drift["index"][watched].tolist(), strict=True
    ):
        if not math.isnan(index):
            figures[f"drift.{spec.features[column].name}"] = index
    for share in (0.5, 0.9, 0.99, 0.999):
        position = fusion.quantile_bin_kernel(state.ranks, int(clock[budget.SCORED]), share)
        figures[f"score_quantile.{share}"] = fusion.bin_score(int(position)) if clock[budget.SCORED] else 0.0
    return figures | label_gauges(spec, state.labels)
