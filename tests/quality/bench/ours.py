"""The detector over a set: decoded columns through `step`, as they go live, one seed at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detector.codec.encode import member_names
from detector.core.batch import DecisionBatch, Verdict
from detector.core.labels import LabelBatch, learn_labels
from detector.core.operator import step
from detector.core.spec import Spec
from detector.core.state import new_state
from tests.quality.bench.sets import Loaded

LABELLED_ROWS = 1_000  # rows between two looks at the labels that have arrived

Floats = NDArray[np.float64]
Told = Callable[[int], None]


@dataclass
class Run:
    """n rows. `scores` by who: `detector` is the risk; `detector: NAME` a member alone. Seconds are those of `step`."""

    scores: dict[str, Floats]
    alert: NDArray[np.bool_]
    step_s: float


class LateLabels:
    """The truth of every row, told `delay_ms` after it."""

    def __init__(self, data: Loaded, delay_ms: int) -> None:
        self._identity = np.concatenate([batch.identity for batch in data.batches])
        self._fraud = data.fraud
        self._arrival_ms = data.event_time_ms + delay_ms
        self._told = 0
        assert (np.diff(self._arrival_ms) >= 0).all(), "labels are told in the order of the rows"

    def until(self, now_ms: int) -> LabelBatch:
        """Those that arrived by `now_ms` and were not told before."""
        part = slice(self._told, int(np.searchsorted(self._arrival_ms, now_ms, side="right")))
        self._told = part.stop
        return LabelBatch(self._identity[part], self._fraud[part], self._arrival_ms[part])


def run(data: Loaded, seed: int, told: Told, delay_ms: int | None = None) -> Run:
    """All rows, in order, score before learn; `told(rows)` after each batch. Decoding is left out of the time.

    With a delay, every label is folded in after it; folding counts into the time.
    """
    spec = replace(data.spec if delay_ms is None else data.labelled, seed=seed)
    rows, names = len(data), member_names(spec)
    risk, alert, members = np.empty(rows), np.zeros(rows, np.bool_), np.empty((len(names), rows))
    step_s = 0.0
    for part, decided, seconds in steps(data, spec, delay_ms):
        step_s += seconds
        risk[part], alert[part], members[:, part] = decided.risk, decided.verdict == Verdict.ALERT, decided.score
        told(len(decided))
    alone = {f"detector: {name}": score for name, score in zip(names, members, strict=True)}
    return Run({"detector": risk, **alone}, alert, step_s)


def steps(data: Loaded, spec: Spec, delay_ms: int | None) -> Iterator[tuple[slice, DecisionBatch, float]]:
    """(rows, what was decided of them, seconds) of each batch."""
    state, start = new_state(spec), 0
    labels = None if delay_ms is None else LateLabels(data, delay_ms)
    for whole in data.batches:
        rows = len(whole) if labels is None else LABELLED_ROWS
        for first in range(0, len(whole), rows):
            batch = whole.rows(first, min(first + rows, len(whole)))
            began_s = time.perf_counter()
            if labels is not None:
                learn_labels(spec, state, labels.until(int(batch.event_time_ms[0])))
            decided = step(spec, state, batch)
            yield slice(start, start + len(batch)), decided, time.perf_counter() - began_s
            start += len(batch)


def rows_per_s(runs: Sequence[Run]) -> float:
    """The median over runs, of score and learn with all members."""
    return float(np.median([len(run.alert) / run.step_s for run in runs]))


def features_of(data: Loaded, columns: NDArray[np.int64] | None, rows: int, delay_ms: int | None = None) -> Floats:
    """The feature matrix (rows, columns) that the models see, for the peers: models are compared, not features.

    No model changes it, so any seed gives it; `columns` None means all. With a delay, the features that labels tell of
    are among them.
    """
    taken: list[Floats] = []
    for part, decided, _ in steps(data, data.spec if delay_ms is None else data.labelled, delay_ms):
        taken.append(decided.features if columns is None else decided.features[:, columns])
        if part.stop >= rows:
            break
    return np.concatenate(taken)[:rows]


def model_columns(data: Loaded) -> NDArray[np.int64]:
    """The feature columns that any of our members looks at."""
    members = new_state(data.spec).plan.members
    found: NDArray[np.int64] = np.unique(np.concatenate([member.columns for member in members]))
    return found
