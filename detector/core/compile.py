"""Compile every kernel before the first record, or load it from the cache on disk: a tiny batch through each step.

Compiled kernels are kept under DETECTOR_CACHE_DIR, by default in the user's cache folder; a first run takes tens of
seconds, later ones about a second.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from detector.core import boosted, drift
from detector.core.batch import TransactionBatch
from detector.core.labels import LabelBatch, learn_labels
from detector.core.operator import step
from detector.core.spec import Decision, HalfSpaceTrees, IsolationForest, Mahalanobis, ProjectionHistograms, Spec
from detector.core.state import TaskState, from_saved, gauges, new_state, saved_arrays

Progress = Callable[[str, int, int], None]
ROWS = 400  # past two pivots, so that scoring with equal and with different scales both run


def compile_kernels(spec: Spec, progress: Progress | None = None) -> None:
    """Run `spec` over made-up rows, telling `progress(what, done, total)`; the rows leave no trace."""
    trees = [replace(member, window_rows=64) for member in spec.members if isinstance(member, HalfSpaceTrees)]
    others = [
        replace(member, pivot_rows=64)
        for member in spec.members
        if isinstance(member, IsolationForest | ProjectionHistograms | Mahalanobis)
    ]
    members = (*trees, *others) or spec.members
    eager = replace(spec, members=members, decision=Decision(alerts_per_day=86_400, alert_risk_min=0.0))
    state = new_state(eager)
    stages = [
        ("features and models", 0, 4),
        ("scales and profiles", 4, 200),
        ("decisions and reasons", 200, ROWS - 1),
        ("a row alone", ROWS - 1, ROWS),  # whose columns lie in memory as no other batch's do
    ]
    batch = made_up(spec, ROWS)
    for done, (what, start, stop) in enumerate(stages):
        if progress is not None:
            progress(what, done, len(stages) + 1)
        step(eager, state, batch.rows(start, stop))
        if spec.labels is not None:
            learn_labels(eager, state, made_up_labels(batch.rows(start, stop)))
    if progress is not None:
        progress("restore", len(stages), len(stages) + 1)
    gauges(eager, from_saved(eager, saved_arrays(state)))
    run_rare(state)
    if progress is not None:
        progress("ready", len(stages) + 1, len(stages) + 1)


def run_rare(state: TaskState) -> None:
    """What so few rows do not come to: the index of drift at the end of a day, and trees that were fitted."""
    drift.index_kernel(state.drift["earlier"], state.drift["latest"], state.drift["index"])
    if state.labels is not None:
        trees, inputs = state.labels.boosted, state.labels.pending.inputs[:1]
        trees.arrays["counter"][boosted.SWAPS] = 1
        boosted.margins(trees, inputs)
        boosted.find_usual(trees, inputs)
        boosted.credits(trees, inputs[0])


def made_up_labels(batch: TransactionBatch) -> LabelBatch:
    """A label a row, every other one a fraud; then the first row's turned round."""
    identity = np.append(batch.identity, batch.identity[:1])
    is_fraud = np.arange(len(identity)) % 2 == 0
    is_fraud[-1] = False
    return LabelBatch(identity, is_fraud, np.append(batch.event_time_ms, batch.event_time_ms[:1]))


def made_up(spec: Spec, rows: int) -> TransactionBatch:
    """Rows of a few entities, a minute apart, the last one far off and the tenth late."""
    row = np.arange(rows)
    event_time_ms = 1_735_689_600_000 + 60_000 * row
    event_time_ms[10:11] = 1_735_600_000_000
    key = ((row[None, :] * 7 + np.arange(len(spec.keys))[:, None]) % 5 + 1).astype(np.uint64) << np.uint64(44)
    amount = 10.0 + (row * 37 % 101)
    amount[-1] = 1e6
    return TransactionBatch(
        offset=row.astype(np.int64),
        event_time_ms=event_time_ms.astype(np.int64),
        amount=amount.astype(np.float64),
        key=key,
        latitude=48.0 + (row % 13) / 10.0,
        longitude=2.0 + (row % 7) / 10.0,
        numeric=np.tile(np.sin(row.astype(np.float64)), (len(spec.numeric), 1)),
        identity=(row + 1).astype(np.uint64) << np.uint64(44) if spec.labels is not None else np.empty(0, np.uint64),
    )
