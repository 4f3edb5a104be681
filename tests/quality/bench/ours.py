"""The detector over a set: decoded columns through `step`, as they go live, one seed at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detector.codec.encode import member_names
from detector.core.batch import Verdict
from detector.core.operator import step
from detector.core.state import new_state
from tests.quality.bench.sets import Loaded

Floats = NDArray[np.float64]
Told = Callable[[int], None]


@dataclass
class Run:
    """n rows. `scores` by who: `detector` is the risk; `detector: NAME` a member alone. Seconds are those of `step`."""

    scores: dict[str, Floats]
    alert: NDArray[np.bool_]
    step_s: float


def run(data: Loaded, seed: int, told: Told) -> Run:
    """All rows, in order, score before learn; `told(rows)` after each batch. Decoding is left out of the time."""
    spec = replace(data.spec, seed=seed)
    state = new_state(spec)
    rows = len(data)
    names = member_names(spec)
    risk, alert, members = np.empty(rows), np.zeros(rows, np.bool_), np.empty((len(names), rows))
    step_s, start = 0.0, 0
    for batch in data.batches:
        part = slice(start, start + len(batch))
        began_s = time.perf_counter()
        decided = step(spec, state, batch)
        step_s += time.perf_counter() - began_s
        risk[part], alert[part], members[:, part] = decided.risk, decided.verdict == Verdict.ALERT, decided.score
        start = part.stop
        told(len(batch))
    alone = {f"detector: {name}": score for name, score in zip(names, members, strict=True)}
    return Run({"detector": risk, **alone}, alert, step_s)


def rows_per_s(runs: Sequence[Run]) -> float:
    """The median over runs, of score and learn with all members."""
    return float(np.median([len(run.alert) / run.step_s for run in runs]))


def features_of(data: Loaded, columns: NDArray[np.int64] | None, rows: int) -> Floats:
    """The feature matrix (rows, columns) that the models see, for the peers: models are compared, not features.

    No model changes it, so any seed gives it; `columns` None means all.
    """
    state = new_state(data.spec)
    taken: list[Floats] = []
    seen = 0
    for batch in data.batches:
        if seen >= rows:
            break
        found = step(data.spec, state, batch).features
        taken.append(found if columns is None else found[:, columns])
        seen += len(batch)
    return np.concatenate(taken)[:rows]


def model_columns(data: Loaded) -> NDArray[np.int64]:
    """The feature columns that any of our members looks at."""
    members = new_state(data.spec).plan.members
    found: NDArray[np.int64] = np.unique(np.concatenate([member.columns for member in members]))
    return found
