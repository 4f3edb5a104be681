"""The straight line on one screen: features → score → fuse → decide → explain → learn.

Laws kept here: *cut invariance*, `step(a)` then `step(b)` equals `step(a ++ b)` bit for bit; *prequential*, decision
*i* depends on records before *i* only. A batch is walked in segments that end where a member's profiles pivot: inside a
segment everything that scores is frozen, and what decides goes row by row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.core import budget, fusion, profile
from detector.core.batch import DecisionBatch, TransactionBatch, Verdict
from detector.core.explain import explain
from detector.core.features import entity_features, row_features
from detector.core.spec import Spec
from detector.core.state import TaskState
from detector.core.threads import in_two


def step(spec: Spec, state: TaskState, batch: TransactionBatch) -> DecisionBatch:
    """Decide every row of `batch` and fold it into `state`, in place."""
    late, watermark_ms = lateness(spec, state, batch.event_time_ms)
    features = features_of(spec, state, batch, late, watermark_ms)
    rows = len(batch)
    decided = DecisionBatch(
        score=np.empty((len(state.members), rows)),
        risk=np.empty(rows),
        verdict=np.empty(rows, np.int8),
        late=late,
        features=features,
        reasons={},
        model_version=np.empty(rows, np.int64),
    )
    tie_break = budget.tie_breaks(batch.offset, spec.seed)
    bits = profile.as_bits(features[:, state.plan.profiled])
    members = list(zip(state.plan.members, state.members, strict=True))
    start = 0
    while start < rows:
        stop = min(rows, start + min(member.rows_to_pivot(arrays) for member, arrays in members))
        part = slice(start, stop)
        for position, (member, arrays) in enumerate(members):
            member.score_then_learn(arrays, features[part], late[part], decided.score[position, part])
        decide(spec, state, batch.event_time_ms[part], tie_break[part], decided, part)
        for row in (np.flatnonzero(decided.verdict[part] == Verdict.ALERT) + start).tolist():
            decided.reasons[row] = explain(
                spec,
                state.plan.profiled,
                state.plan.sides,
                features[row],
                float(batch.amount[row]),
                state.reference,
                state.plan.edges,
            )
        learn(state, bits[part], late[part])
        start = stop
    return decided


def lateness(
    spec: Spec, state: TaskState, event_time_ms: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """(late, watermark) a row: the watermark is the highest event time before the row, less the allowed lateness."""
    before = np.empty_like(event_time_ms)
    if len(before):
        before[0] = state.clock[budget.EVENT_MS]
        np.maximum(np.maximum.accumulate(event_time_ms[:-1]), before[0], out=before[1:])
    watermark_ms = before - spec.allowed_lateness_ms
    return event_time_ms < watermark_ms, watermark_ms


def features_of(
    spec: Spec,
    state: TaskState,
    batch: TransactionBatch,
    late: NDArray[np.bool_],
    watermark_ms: NDArray[np.int64],
) -> NDArray[np.float64]:
    """The feature matrix (n, f); entity tables take the rows in."""
    features = np.empty((len(batch), len(spec.features)))

    def fill(positions: range) -> None:
        for position in positions:
            state.tables[position] = entity_features(
                spec, state.plan.entities[position], state.tables[position], batch, late, watermark_ms, features
            )

    # Entities share nothing: each has its table and its columns.
    count = len(state.tables)
    row_features(spec, batch, features)
    in_two(lambda: fill(range(0, count, 2)), lambda: fill(range(1, count, 2)), len(batch))
    return features


def decide(
    spec: Spec,
    state: TaskState,
    event_time_ms: NDArray[np.int64],
    tie_break: NDArray[np.float64],
    decided: DecisionBatch,
    part: slice,
) -> None:
    """Fuse, rank and decide one segment, row by row, into `decided`."""
    ready = all(member.ready(arrays) for member, arrays in zip(state.plan.members, state.members, strict=True))
    decided.model_version[part] = state.plan.members[0].pivots(state.members[0])
    decision = spec.decision
    budget.decide_kernel(
        event_time_ms,
        decided.late[part],
        ready,
        fusion.score_bins(fusion.fuse(decided.score[:, part])),
        tie_break,
        -1 if decision.alerts_per_day is None else decision.alerts_per_day,
        spec.partitions,
        decision.alert_risk_min,
        decision.review_risk_min,
        state.clock,
        state.meter,
        state.ranks,
        decided.risk[part],
        decided.verdict[part],
    )


def learn(state: TaskState, bits: NDArray[np.int32], late: NDArray[np.bool_]) -> None:
    """Count one segment into the feature profile; where a member's window is full, freeze the profile and pivot."""
    profile.learn_kernel(bits, late, state.counted, state.histogram)
    due = [
        (member, arrays)
        for member, arrays in zip(state.plan.members, state.members, strict=True)
        if member.rows_to_pivot(arrays) <= 0
    ]
    if due:
        np.cumsum(state.histogram, axis=1, out=state.reference[:, 1:])
        for member, arrays in due:
            member.pivot(arrays, state.reference)
