"""Our members as river estimators: `learn_one`, `score_one`, and both for many rows at once.

    >>> from detector.adapters.river import HalfSpaceTrees
    >>> model = HalfSpaceTrees(trees=10, window_rows=250, seed=1)
    >>> for i in range(1_000):
    ...     model.learn_one({"amount": 10.0 + i % 7, "age": i % 5})
    >>> model.score_one({"amount": 12.0, "age": 1}) < model.score_one({"amount": 900.0, "age": 1})
    True

No scaler is needed in front: a member scales by its own feature profile. As in river's own half-space trees the
features are those of the first row learned: later ones that are new are ignored, missing ones are missing values. Rows
are learned one after the other whatever the call, so `learn_many` equals a loop over `learn_one`, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from river import base

from detector.core import profile, reservoir, spec
from detector.core.half_space_trees import HalfSpaceForest
from detector.core.isolation_forest import RollingForest
from detector.core.mahalanobis import MahalanobisDistance
from detector.core.models import Arrays, Member
from detector.core.projections import ProjectionForest

Row = Mapping[base.typing.FeatureName, Any]


class _Streaming(base.AnomalyDetector):
    """A member with the feature profile and the reservoir that it is built from."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._names: tuple[base.typing.FeatureName, ...] = ()
        self._member: Member
        self._arrays: Arrays
        self._counted = np.zeros(2, np.int64)
        self._histogram = np.zeros((0, profile.BINS), np.int64)
        self._sample = np.zeros((0, 0), np.float32)
        self._sampled = np.zeros(1, np.int64)

    def _build(self, columns: NDArray[np.int64]) -> Member:
        raise NotImplementedError

    def learn_one(self, x: Row) -> None:
        """Learn a row: feature name → number; None and NaN are missing values."""
        self._learn([x])

    def score_one(self, x: Row) -> float:
        """How anomalous a row is, 0 to 1, by the rows learned before; 0.0 while the first of them are awaited."""
        return float(self._score([x])[0])

    def learn_many(self, X: Any) -> None:
        """Learn the rows of a data frame (pandas, polars or another that narwhals reads), in order."""
        self._learn(_rows(X))

    def score_many(self, X: Any) -> NDArray[np.float64]:
        """Scores (n,) of the rows of a data frame, all by what was learned before."""
        return self._score(_rows(X))

    def _learn(self, rows: list[Row]) -> None:
        if not rows:
            return
        if not self._names:
            self._begin(rows[0])
        values = self._matrix(rows)
        bits, late = profile.as_bits(values), np.zeros(len(values), np.bool_)
        start = 0
        while start < len(values):
            part = slice(start, start + self._member.rows_to_pivot(self._arrays))
            taken = values[part]
            trace = self._member.score(self._arrays, taken, np.empty(len(taken)))
            self._member.learn(self._arrays, taken, trace, ~late[part])
            reservoir.learn(taken, self._member.columns, ~late[part], self.seed, self._sample, self._sampled)
            profile.learn_kernel(bits[part], late[part], self._counted, self._histogram)
            if self._member.rows_to_pivot(self._arrays) <= 0:
                self._member.pivot(self._arrays, profile.cumulated(self._histogram), self._sample[: self._sampled[0]])
            start += len(taken)

    def _score(self, rows: list[Row]) -> NDArray[np.float64]:
        score = np.zeros(len(rows))
        if self._names and self._member.ready(self._arrays):
            self._member.score(self._arrays, self._matrix(rows), score)
        return score

    def _begin(self, x: Row) -> None:
        names = tuple(sorted(x, key=str))
        if not names:
            raise ValueError("expected at least one feature in the first row learned, found none")
        for name, value in self._get_params().items():
            if name not in ("seed", "view") and not value > 0:
                raise ValueError(f"{name}: expected greater than 0, found {value!r}")
        self._member = self._build(np.arange(len(names)))
        self._arrays = self._member.new_arrays()
        self._histogram = np.zeros((len(names), profile.BINS), np.int64)
        self._sample = np.zeros((reservoir.ROWS, len(names)), np.float32)
        self._names = names

    def _matrix(self, rows: list[Row]) -> NDArray[np.float64]:
        return np.array([[x.get(name) for name in self._names] for x in rows], np.float64)


def _rows(frame: Any) -> list[Row]:
    import narwhals

    return list(narwhals.from_native(frame, eager_only=True).iter_rows(named=True))


class HalfSpaceTrees(_Streaming):
    """Streaming half-space trees (Tan, Ting, Liu, IJCAI 2011), scaled by themselves.

    Parameters
    ----------
    trees
        Number of trees.
    height
        Height of each tree, levels.
    window_rows
        Rows between two pivots; the first windows are shorter, so that scores exist after 192 rows.
    seed
        Seed of the splits.
    """

    def __init__(self, trees: int = 25, height: int = 8, window_rows: int = 1_000, seed: int = 42) -> None:
        super().__init__(seed)
        self.trees = trees
        self.height = height
        self.window_rows = window_rows

    def _build(self, columns: NDArray[np.int64]) -> Member:
        asked = spec.HalfSpaceTrees(self.trees, self.height, self.window_rows)
        return HalfSpaceForest(asked, columns, columns, self.seed)


class IsolationForest(_Streaming):
    """A rolling isolation forest (Liu, Ting, Zhou, ICDM 2008): its trees are replaced in turn by ones of recent rows.

    Parameters
    ----------
    trees
        Number of trees.
    sample_rows
        Rows that a tree is built of.
    rebuild_rows
        Rows learned to a tree replaced.
    pivot_rows
        Rows between two pivots, where trees are replaced; the first windows are shorter.
    seed
        Seed of the splits and of the reservoir.
    """

    def __init__(
        self, trees: int = 100, sample_rows: int = 256, rebuild_rows: int = 64, pivot_rows: int = 1_000, seed: int = 42
    ) -> None:
        super().__init__(seed)
        self.trees = trees
        self.sample_rows = sample_rows
        self.rebuild_rows = rebuild_rows
        self.pivot_rows = pivot_rows

    def _build(self, columns: NDArray[np.int64]) -> Member:
        asked = spec.IsolationForest(self.trees, self.sample_rows, self.rebuild_rows, self.pivot_rows)
        return RollingForest(asked, columns, columns, self.seed)


class ProjectionHistograms(_Streaming):
    """Histograms of sparse random projections, after LODA (Pevný, Machine Learning, 2016).

    Parameters
    ----------
    view
        `range`: columns divided by their range; `asinh`: the asinh of robust deviations, whitened.
    projections
        Number of projections.
    width
        Width of a bin in standard deviations of its projection.
    pivot_rows
        Rows between two pivots; the first windows are shorter.
    seed
        Seed of the projections and of the reservoir.
    """

    def __init__(
        self,
        view: Literal["range", "asinh"] = "range",
        projections: int = 100,
        width: float = 2.0,
        pivot_rows: int = 1_000,
        seed: int = 42,
    ) -> None:
        super().__init__(seed)
        self.view: Literal["range", "asinh"] = view
        self.projections = projections
        self.width = width
        self.pivot_rows = pivot_rows

    def _build(self, columns: NDArray[np.int64]) -> Member:
        asked = spec.ProjectionHistograms(self.view, self.projections, self.width, self.pivot_rows)
        return ProjectionForest(asked, columns, columns, self.seed)


class Mahalanobis(_Streaming):
    """The distance from the rows' middle in units of their covariance (Mahalanobis, 1936), in a robust asinh view.

    Parameters
    ----------
    pivot_rows
        Rows between two pivots; the first windows are shorter.
    seed
        Seed of the reservoir.
    """

    def __init__(self, pivot_rows: int = 1_000, seed: int = 42) -> None:
        super().__init__(seed)
        self.pivot_rows = pivot_rows

    def _build(self, columns: NDArray[np.int64]) -> Member:
        return MahalanobisDistance(spec.Mahalanobis(self.pivot_rows), columns, columns, self.seed)
