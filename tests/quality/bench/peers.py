"""What others offer, over the same feature matrix, one row after the other: score, then learn.

All get what is kind to them: no missing values (the running mean of the column so far stands in), river its own scalers
inside the pipeline, PySAD what suits each best (LODA rows as they are; xStream rows scaled to the range so far,
beforehand and out of the time). `IsolationForest` is no streaming peer: it sees the first fifth at once and is asked
about the rest.
"""

from __future__ import annotations

import hashlib
import importlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
CHUNK_ROWS = 2_000
TRAINED_SHARE = 0.2


@dataclass(frozen=True)
class Peer:
    """One contender. `rows_max`: slower ones see a prefix; `seeded`: whether a seed changes anything."""

    name: str
    package: str
    run: Callable[[Floats, int], tuple[Floats, float]]
    rows_max: int
    first: float = 0.0  # share of the rows that it does not score
    seeded: bool = True

    @property
    def absent(self) -> bool:
        try:
            version(self.package)
        except PackageNotFoundError:
            return True
        return False


@dataclass
class Scored:
    """Scores of rows `rows` of a set, and how many it took a second."""

    rows: slice
    score: Floats
    rows_per_s: float


def filled(features: Floats) -> Floats:
    """No missing values: the column's mean over the rows before, 0 before any."""
    missing = np.isnan(features)
    if not missing.any():
        return features
    total = np.cumsum(np.where(missing, 0.0, features), axis=0)
    count = np.cumsum(~missing, axis=0)
    return np.where(missing, total / np.maximum(count, 1), features)


def to_range(features: Floats) -> Floats:
    """To 0–1 by the least and the highest so far."""
    low, high = np.minimum.accumulate(features), np.maximum.accumulate(features)
    return np.asarray((features - low) / np.where(high > low, high - low, 1.0))


def chunks(features: Floats) -> Iterator[tuple[int, Floats]]:
    for start in range(0, len(features), CHUNK_ROWS):
        yield start, features[start : start + CHUNK_ROWS]


def river_stream(make: Callable[[int], Any]) -> Callable[[Floats, int], tuple[Floats, float]]:
    """A river pipeline; making the dictionaries is left out of the time."""

    def run(features: Floats, seed: int) -> tuple[Floats, float]:
        model, score, spent_s = make(seed), np.empty(len(features)), 0.0
        for start, some in chunks(features):
            rows = [dict(enumerate(row)) for row in some.tolist()]
            began_s = time.perf_counter()
            for position, row in enumerate(rows, start):
                score[position] = model.score_one(row)
                model.learn_one(row)
            spent_s += time.perf_counter() - began_s
        return score, spent_s

    return run


def half_space_trees(**parameters: int) -> Callable[[int], Any]:
    def make(seed: int) -> Any:
        from river import anomaly, preprocessing

        return preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(seed=seed, **parameters)

    return make


def one_class_svm(_seed: int) -> Any:
    from river import anomaly, preprocessing

    return preprocessing.StandardScaler() | anomaly.OneClassSVM()


def pysad_stream(name: str, scale: Callable[[Floats], Floats]) -> Callable[[Floats, int], tuple[Floats, float]]:
    def run(features: Floats, seed: int) -> tuple[Floats, float]:
        model = getattr(importlib.import_module("pysad.models"), name)(random_state=seed)
        score, spent_s = np.empty(len(features)), 0.0
        for start, some in chunks(scale(features)):
            began_s = time.perf_counter()
            for position, row in enumerate(some, start):
                score[position] = np.ravel(model.fit_score_partial(row))[0]
            spent_s += time.perf_counter() - began_s
        return score, spent_s

    return run


def isolation_forest(features: Floats, seed: int) -> tuple[Floats, float]:
    from sklearn.ensemble import IsolationForest

    first = int(TRAINED_SHARE * len(features))
    began_s = time.perf_counter()
    model = IsolationForest(random_state=seed).fit(features[:first])
    score = -model.score_samples(features[first:])
    return score, time.perf_counter() - began_s


PEERS = (
    Peer("river HalfSpaceTrees", "river", river_stream(half_space_trees()), 600_000),
    Peer("river HalfSpaceTrees 25 × 8, window 1,000", "river",
         river_stream(half_space_trees(n_trees=25, height=8, window_size=1_000)), 600_000),
    Peer("river OneClassSVM", "river", river_stream(one_class_svm), 600_000, seeded=False),
    Peer("PySAD LODA", "pysad", pysad_stream("LODA", np.asarray), 600_000),
    Peer("PySAD xStream", "pysad", pysad_stream("xStream", to_range), 30_000),
    Peer("scikit-learn IsolationForest, first 20 %", "scikit-learn", isolation_forest, 10_000_000, TRAINED_SHARE),
)  # fmt: skip


def scored(peer: Peer, features: Floats, seed: int, kept: Path) -> Scored:
    """One run over the first rows, as many as the peer takes."""
    features = features[: peer.rows_max]
    seed = seed if peer.seeded else 0
    said = f"{peer.name} {version(peer.package)} {seed} {Path(__file__).read_text()}"
    score, spent_s = remembered(kept, said, features, lambda: peer.run(filled(features), seed))
    rows = slice(len(features) - len(score), len(features))
    return Scored(rows, score, len(features) / spent_s)


def remembered(
    kept: Path, said: str, features: Floats, work: Callable[[], tuple[Floats, float]]
) -> tuple[Floats, float]:
    """(scores, seconds) of `work`, or what the folder `kept` holds of it: by all that is `said`, and the very features.

    A score that is no number counts as 0.
    """
    said = f"{said} {features.shape}"
    digest = hashlib.blake2b(said.encode() + np.ascontiguousarray(features).tobytes(), digest_size=12).hexdigest()
    path = kept / f"{digest}.npz"
    if path.is_file():
        with np.load(path) as found:
            return found["score"], float(found["spent_s"])
    score, spent_s = work()
    score = np.nan_to_num(score)
    kept.mkdir(parents=True, exist_ok=True)
    np.savez(path, score=score, spent_s=spent_s)
    return score, spent_s
