"""The members' seam: what a model must do to take part in a task, and which models a spec asks for.

A member is an immutable plan. All that it learns lies in the arrays that it is handed, so it is saved, restored and
compared as bytes. It scores by what was frozen at its last pivot and learns into what freezes at the next: between two
pivots no score depends on where a batch was cut.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from detector.core.defaults import default_model_features
from detector.core.half_space_trees import HalfSpaceForest
from detector.core.isolation_forest import RollingForest
from detector.core.mahalanobis import MahalanobisDistance
from detector.core.projections import ProjectionForest
from detector.core.spec import (
    HalfSpaceTrees,
    IsolationForest,
    Mahalanobis,
    MemberSpec,
    ProjectionHistograms,
    Spec,
)

Arrays = dict[str, NDArray[Any]]
Trace = Any  # what a member keeps of a row between scoring and learning it


class Member(Protocol):
    """One model of the ensemble; scores lie in 0–1, high = anomalous."""

    @property
    def name(self) -> str:
        """Under which its score is published."""
        ...

    @property
    def columns(self) -> NDArray[np.int64]:
        """Columns of the feature matrix that it looks at."""
        ...

    def new_arrays(self) -> Arrays:
        """Its state before the first row; shapes and dtypes stay, for the snapshot."""
        ...

    def ready(self, arrays: Arrays) -> bool:
        """Whether its scores mean anything yet."""
        ...

    def rows_to_pivot(self, arrays: Arrays) -> int:
        """Rows, at least one, that may be learned before `pivot` is due; 0 when it is."""
        ...

    def pivots(self, arrays: Arrays) -> int:
        """Pivots so far: the version of what scores."""
        ...

    def score(self, arrays: Arrays, features: NDArray[np.float64], score: NDArray[np.float64]) -> Trace:
        """Score rows (n, f) into `score` (n,) by what is frozen; NaN is a missing value.

        Changes nothing in `arrays`, so two threads may score different rows at once. Returns what `learn` need not work
        out again.
        """
        ...

    def learn(self, arrays: Arrays, features: NDArray[np.float64], trace: Trace, taken: NDArray[np.bool_]) -> None:
        """Learn the rows that are `taken` (n,), at most `rows_to_pivot` of them.

        `trace` is what `score` returned for just these rows since the last pivot.
        """
        ...

    def restart(self, arrays: Arrays) -> None:
        """Most of the stream has changed, for good: what goes by its age begins anew. Called before a pivot."""
        ...

    def pivot(self, arrays: Arrays, cumulated: NDArray[np.int64], sample: NDArray[np.float32]) -> None:
        """Freeze what was learned.

        `cumulated` int64 (profiled, BINS + 1) is the feature profile at this row, `sample` float32 (rows, profiled)
        the reservoir's rows, in no order that means anything.
        """
        ...

    def explain(self, arrays: Arrays, row: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """What each of `columns` adds to the score of one row (f,), and the base, the score of a usual row.

        Contributions (m,) and base sum to the score. All zero until `ready`.
        """
        ...

    def merge(self, one: Arrays, other: Arrays) -> Arrays:
        """What two streams learned since a shared pivot, together. Raises ValueError where they share none."""
        ...


def build_members(spec: Spec) -> tuple[tuple[Member, ...], NDArray[np.int64]]:
    """The members that `spec` declares, and the feature columns that any of them or the head looks at, ascending.

    The head looks at all.
    """
    names = [feature.name for feature in spec.features]
    chosen = [
        np.array([names.index(name) for name in member.features or default_model_features(spec.features)], np.int64)
        for member in spec.members
    ]
    profiled = np.unique(np.concatenate(chosen)) if spec.labels is None else np.arange(len(spec.features))
    members = tuple(
        _member(member, columns, np.searchsorted(profiled, columns), spec.seed + position)
        for position, (member, columns) in enumerate(zip(spec.members, chosen, strict=True))
    )
    return members, profiled


def _member(spec: MemberSpec, columns: NDArray[np.int64], profiled: NDArray[np.int64], seed: int) -> Member:
    if isinstance(spec, HalfSpaceTrees):
        return HalfSpaceForest(spec, columns, profiled, seed)
    if isinstance(spec, IsolationForest):
        return RollingForest(spec, columns, profiled, seed)
    if isinstance(spec, ProjectionHistograms):
        return ProjectionForest(spec, columns, profiled, seed)
    if isinstance(spec, Mahalanobis):
        return MahalanobisDistance(spec, columns, profiled, seed)
    made: Member = spec.build(columns, profiled, seed)
    return made
