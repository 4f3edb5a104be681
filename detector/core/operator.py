"""The straight line on one screen: features → score → fuse → decide → explain → learn.

Laws kept here: *cut invariance*, `step(a)` then `step(b)` equals `step(a ++ b)` bit for bit; *prequential*, decision
*i* depends on records before *i* only. `prepare` makes the features and touches the entity tables alone, `conclude`
does the rest and touches all but them: so the features of one batch may be made while the batch before it is decided.

A batch is walked in segments that end where a member's profiles pivot or trees are swapped in: inside a segment
everything that scores is frozen, and what decides goes row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.core import budget, credit, drift, fusion, gate, head, profile, reservoir, surprise, trained
from detector.core.batch import DecisionBatch, TransactionBatch, Verdict
from detector.core.explain import explain
from detector.core.features import entity_features, row_features
from detector.core.labels import head_credits, head_inputs, read_label_features, rows_to_swap, supervise
from detector.core.models import Arrays, Member, Trace
from detector.core.spec import Spec
from detector.core.state import TaskState
from detector.core.threads import in_two

TOLD_PART_MIN = 0.02  # of all contributions: a feature that the head alone looks at is no reason for less


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch with its features (n, f) and what is late of it (n,): folded into the entity tables, not yet decided."""

    batch: TransactionBatch
    late: NDArray[np.bool_]
    features: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Surprised:
    """Of one segment: `place` int32 (members, n), where scores lie; `nats` float64 (members, n), how odd they are."""

    place: NDArray[np.int32]
    nats: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scored:
    """Of one segment, for learning: what each member keeps, and where its scores lie."""

    traces: Sequence[Trace]
    place: NDArray[np.int32]


def step(spec: Spec, state: TaskState, batch: TransactionBatch) -> DecisionBatch:
    """Decide every row of `batch` and fold it into `state`, in place."""
    return conclude(spec, state, prepare(spec, state, batch))


def prepare(spec: Spec, state: TaskState, batch: TransactionBatch) -> Prepared:
    """The features; entity tables take the rows in. Batches are prepared in log order."""
    late, watermark_ms = lateness(spec, state, batch.event_time_ms)
    return Prepared(batch, late, features_of(spec, state, batch, late, watermark_ms))


def conclude(spec: Spec, state: TaskState, prepared: Prepared) -> DecisionBatch:
    """Score, decide, explain and learn what was prepared. Batches are concluded in log order."""
    batch, late, features = prepared.batch, prepared.late, prepared.features
    rows = len(batch)
    if state.labels is not None:  # not sooner: labels may be folded in between a batch's preparation and here
        read_label_features(spec, state.labels, batch, features)
    decided = DecisionBatch(
        score=np.empty((len(state.members) + len(state.plan.heads), rows)),
        risk=np.empty(rows),
        verdict=np.empty(rows, np.int8),
        late=late,
        features=features,
        reasons={},
        model_version=np.empty(rows, np.int64),
    )
    tie_break = budget.tie_breaks(batch.offset, spec.seed)
    bits = profile.as_bits(features[:, state.plan.profiled])
    own, given = decided.score[: len(state.members)], decided.score[len(state.members) :]
    trained.read(state.plan.heads, features, given)
    members = list(zip(state.plan.members, state.members, strict=True))
    start = 0
    while start < rows:
        stop = start + min(rows - start, *(member.rows_to_pivot(arrays) for member, arrays in members))
        if spec.labels is not None and state.labels is not None:
            stop = start + rows_to_swap(spec.labels, state.labels, stop - start)
        part = slice(start, stop)
        traces = score(members, features[part], own[:, part])
        read = surprised(state, own[:, part])
        passed = decide(spec, state, batch.rows(start, stop), tie_break[part], decided, part, read.nats)
        for row in (np.flatnonzero(decided.verdict[part] == Verdict.ALERT) + start).tolist():
            decided.reasons[row] = explain(
                spec,
                state.plan.tellable,
                features[row],
                float(batch.amount[row]),
                state.reference,
                state.plan.edges,
                contributions(spec, state, features[row], read.nats[:, row - start]),
            )
        learn(spec, state, features[part], bits[part], Scored(traces, read.place), late[part], passed)
        start = stop
    return decided


def lateness(
    spec: Spec, state: TaskState, event_time_ms: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """(late, watermark) a row: the watermark is the highest event time before the row, less the allowed lateness."""
    before = np.empty_like(event_time_ms)
    if len(before):
        before[0] = state.front_ms[0]
        np.maximum(np.maximum.accumulate(event_time_ms[:-1]), before[0], out=before[1:])
        state.front_ms[0] = max(before[-1], event_time_ms[-1])
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


def score(
    members: Sequence[tuple[Member, Arrays]], features: NDArray[np.float64], scores: NDArray[np.float64]
) -> list[Trace]:
    """Score one segment (n, f) into `scores` (members, n); what members keep for learning."""
    return [member.score(arrays, features, own) for (member, arrays), own in zip(members, scores, strict=True)]


def surprised(state: TaskState, scores: NDArray[np.float64]) -> Surprised:
    """How surprising the members' scores (members, n) are."""
    read = Surprised(np.empty(scores.shape, np.int32), np.empty(scores.shape))
    surprise.read_kernel(scores, state.tails, read.place, read.nats)
    return read


def decide(
    spec: Spec,
    state: TaskState,
    batch: TransactionBatch,
    tie_break: NDArray[np.float64],
    decided: DecisionBatch,
    part: slice,
    nats: NDArray[np.float64],
) -> gate.Passed:
    """Fuse, rank and decide one segment, row by row, into `decided`; what the gate says of each row."""
    ready = any(member.ready(arrays) for member, arrays in zip(state.plan.members, state.members, strict=True))
    decided.model_version[part] = state.plan.members[0].pivots(state.members[0])
    decision = spec.decision
    fused = fusion.fuse(nats, state.plan.weight)
    bins = fusion.score_bins(fused)
    passed = gate.pass_through(state.gate, bins, decided.late[part])
    blended = fused
    if state.labels is not None:
        blended = supervise(spec, state.labels, batch, decided.features[part], nats, fused)
    if spec.heads is not None:
        given = decided.score[len(nats) :, part]
        blended = trained.blend(spec.heads, state.plan.heads, state.labels, given, blended)
    budget.decide_kernel(
        batch.event_time_ms,
        batch.amount,
        decided.late[part],
        passed.burst,
        passed.memory_rows,
        ready,
        bins if blended is fused else fusion.score_bins(blended),
        tie_break,
        -1 if decision.alerts_per_day is None else decision.alerts_per_day,
        spec.partitions,
        decision.alert_risk_min,
        decision.review_risk_min,
        decision.money_weight,
        state.clock,
        state.meter,
        state.ranks,
        state.standing,
        state.values,
        decided.risk[part],
        decided.verdict[part],
    )
    return passed


def contributions(
    spec: Spec, state: TaskState, row: NDArray[np.float64], nats: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What each profiled feature of one row (f,) adds to its blended score, in bits; `nats` (members,).

    What the head owes to a member, or to the anomaly, goes to the features that these owe theirs to. Minus infinity
    where no member looks, and the heads see next to nothing. Without heads as `anomaly_contributions`.
    """
    by_member, anomaly = anomaly_contributions(state, row, nats)
    if spec.labels is None and spec.heads is None:
        return anomaly
    plan, fused = state.plan, fusion.fuse(nats[:, None], state.plan.weight)
    given, share = np.zeros(len(row) + len(by_member) + 1), 0.0
    if spec.labels is not None and state.labels is not None:
        given, share = head_credits(spec.labels, state.labels, head_inputs(row[None, :], nats[:, None], fused))
    added = np.empty(len(anomaly))
    credit.passed_on_kernel(by_member, anomaly, given, plan.profiled, share, head.bits_of(fused)[0], added)
    if spec.heads is not None:
        added = trained.credited(spec.heads, plan.heads, state.labels, row, plan.profiled, added)
    credit.hide_kernel(added, plan.watched, TOLD_PART_MIN)
    return added


def anomaly_contributions(
    state: TaskState, row: NDArray[np.float64], nats: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What each profiled feature of one row (f,) adds to each member's score (members, profiled), and to all fused."""
    given = np.zeros((len(state.members), len(state.plan.profiled)))
    members = zip(state.plan.members, state.plan.places, state.members, strict=True)
    for position, (member, place, arrays) in enumerate(members):
        given[position, place] = member.explain(arrays, row)[0]
    return given, credit.fused(given, fusion.worth(nats, state.plan.weight))


def learn(
    spec: Spec,
    state: TaskState,
    features: NDArray[np.float64],
    bits: NDArray[np.int32],
    scored: Scored,
    late: NDArray[np.bool_],
    passed: gate.Passed,
) -> None:
    """Take one segment in; where a member's window is full, freeze the profile and pivot.

    The feature profile counts what is not late; of that, the distributions of scores what belongs to no burst; members
    and the reservoir learn what is taken.
    """
    profile.learn_kernel(bits, late, state.counted, state.histogram)
    drift.learn(state.drift, bits, late)
    surprise.count_kernel(scored.place, ~(late | passed.burst), state.places)
    members = list(zip(state.plan.members, state.members, strict=True))
    for (member, arrays), trace in zip(members, scored.traces, strict=True):
        member.learn(arrays, features, trace, passed.taken)
    sampled = state.sample, state.sampled
    reservoir.learn(features, state.plan.profiled, passed.taken, spec.seed, *sampled, passed.sample_rows)
    due = [(member, arrays) for member, arrays in members if member.rows_to_pivot(arrays) <= 0]
    if due:
        drift.turn(state.drift, int(state.clock[budget.DAY]))
        profile.cumulate_kernel(state.histogram, state.reference)
        sample = state.sample[: min(len(state.sample), int(state.sampled[0]))]
        for member, arrays in due:
            if state.gate["counter"][gate.RESTART]:
                member.restart(arrays)
            member.pivot(arrays, state.reference, sample)
        if state.sampled[0] <= len(state.sample):
            score_sample(state, sample)
        surprise.freeze_kernel(state.places, state.tails, gate.memory_rows_kernel(state.gate["counter"]))
        gate.turn_kernel(state.gate["counter"], state.gate["counts"])


def score_sample(state: TaskState, sample: NDArray[np.float32]) -> None:
    """While the stream is young: the distributions of scores anew, as the members score the reservoir's rows now."""
    features = np.full((len(sample), len(state.plan.spec.features)), np.nan)
    features[:, state.plan.profiled] = sample
    scores = np.zeros((len(state.members), len(sample)))
    score(list(zip(state.plan.members, state.members, strict=True)), features, scores)
    state.places[:] = 0
    surprise.count_kernel(surprised(state, scores).place, np.ones(len(sample), np.bool_), state.places)
