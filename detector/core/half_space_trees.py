"""Half-space trees: random splits drawn from a seed, masses counted from the stream, scores read from frozen masses.

Tan, Ting, Liu, *Fast Anomaly Detection for Streaming Data*, IJCAI 2011; scores equal those of river's `HalfSpaceTrees`
on complete rows with equal splits (law: parity). The *latest profile* learns, the *reference profile* scores, a pivot
at the window's edge makes the one the other. Masses are integers, so profiles learned on two halves of a stream add up
(law: mass adds). Two deviations, both for the laws' sake: a row with a missing feature follows the heavier child of the
reference profile, not of the latest one; and the first windows are short and double, so that scores exist early.

Fails where anomalies come in long bursts, which a window learns as normal, and where only a joint pattern of many
features is odd.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from detector.core import spec as spec_
from detector.core.profile import bin_edges, scale_kernel, squash_kernel
from detector.core.threads import in_two

SIZE_LIMIT_SHARE = 0.1  # the paper's: a node with less of the window's mass ends the walk
PADDING = 0.15  # river's: splits keep away from the edges of their half-space
FIRST_WINDOW_ROWS = 64
# interquartile ranges to a unit of the scaled row: half of the rows lie in the cube's middle ninth, where one split in
# six falls, so that the first split on a feature parts what is odd from what is usual, not the usual from itself
BULK_WIDTHS = 4.0

WINDOW, FILLED, REFERENCE_ROWS, PIVOTS, SAME_SCALE = range(5)

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Splits:
    """Nodes in heap order, children of i at 2i + 1, 2i + 2: `feature` int32, `threshold` float64 (trees, inner)."""

    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    height: int

    @property
    def nodes(self) -> int:
        """Nodes a tree, leaves included."""
        return int(2 ** (self.height + 1) - 1)


def draw_splits(trees: int, height: int, features: int, seed: int) -> Splits:
    """Splits of the unit cube. numpy's policy freezes RandomState's stream: a seed gives the same splits for ever."""
    random = np.random.RandomState(seed)
    inner = 2**height - 1
    feature = np.zeros((trees, inner), np.int32)
    threshold = np.zeros((trees, inner))
    for tree in range(trees):
        limits = {0: np.tile([0.0, 1.0], (features, 1))}
        for node in range(inner):
            limit = limits.pop(node)
            column = min(int(random.random_sample() * features), features - 1)
            low, high = limit[column]
            pad = PADDING * (high - low)
            split = low + pad + (high - low - 2 * pad) * random.random_sample()
            feature[tree, node], threshold[tree, node] = column, split
            left, right = limit.copy(), limit.copy()
            left[column, 1] = right[column, 0] = split
            limits[2 * node + 1], limits[2 * node + 2] = left, right
    return Splits(feature, threshold, height)


class HalfSpaceForest:
    """The member: immutable plan; its state lives in the arrays that it is handed."""

    name = "half_space_trees"

    def __init__(
        self, spec: spec_.HalfSpaceTrees, columns: NDArray[np.int64], profiled: NDArray[np.int64], seed: int
    ) -> None:
        """`columns` of the feature matrix that it looks at, and their rows in the feature profile."""
        self.spec = spec
        self.columns = columns
        self.profiled = profiled
        self.splits = draw_splits(spec.trees, spec.height, len(columns), seed)
        self._edges = bin_edges()

    def new_arrays(self) -> Arrays:
        """The state before the first row. `scale` float64 (4, m): center and width of the reference, of the latest."""
        shape = (self.spec.trees, self.splits.nodes)
        scale = np.zeros((4, len(self.columns)))
        scale[1] = scale[3] = 1.0
        counter = np.zeros(5, np.int64)
        counter[WINDOW] = min(FIRST_WINDOW_ROWS, self.spec.window_rows)
        return {
            "counter": counter,
            "scale": scale,
            "reference": np.zeros(shape, np.int32),
            "latest": np.zeros(shape, np.int32),
        }

    def rows_to_pivot(self, arrays: Arrays) -> int:
        """Rows that may be learned before the masses change hands."""
        return int(arrays["counter"][WINDOW] - arrays["counter"][FILLED])

    def ready(self, arrays: Arrays) -> bool:
        """Whether a reference profile exists to score by."""
        return bool(arrays["counter"][REFERENCE_ROWS] > 0)

    def pivots(self, arrays: Arrays) -> int:
        """How many times the masses changed hands: the version of the model that scores."""
        return int(arrays["counter"][PIVOTS])

    def score_then_learn(
        self, arrays: Arrays, features: NDArray[np.float64], late: NDArray[np.bool_], score: NDArray[np.float64]
    ) -> None:
        """Score rows (n, f) into `score` (n,) by the reference, and count those not late into the latest profile.

        The caller hands over at most `rows_to_pivot` learnable rows. Scores are 0 until a reference exists.
        """
        counter = arrays["counter"]
        scale = arrays["scale"]
        z_learn = np.empty((len(features), len(self.columns)))
        squash_kernel(features, self.columns, scale[2], scale[3], z_learn)
        z_score = z_learn
        if not counter[SAME_SCALE]:
            z_score = np.empty_like(z_learn)
            squash_kernel(features, self.columns, scale[0], scale[1], z_score)
        self.walk(arrays, z_score, z_learn, late, score)
        counter[FILLED] += np.count_nonzero(~late)

    def walk(
        self,
        arrays: Arrays,
        z_score: NDArray[np.float64],
        z_learn: NDArray[np.float64],
        late: NDArray[np.bool_],
        score: NDArray[np.float64],
    ) -> None:
        """The same on rows already scaled to the unit cube; `z_score is z_learn` saves a walk."""
        rows = int(arrays["counter"][REFERENCE_ROWS])
        half = self.spec.trees // 2
        mass = np.zeros((2, len(z_score)), np.int64)
        splits, reference, latest = self.splits, arrays["reference"], arrays["latest"]

        def some(trees: slice, mass: NDArray[np.int64]) -> None:
            parts = splits.feature[trees], splits.threshold[trees], reference[trees]
            if z_score is z_learn:
                both_kernel(z_score, late, *parts, latest[trees], rows, mass)
            else:
                score_kernel(z_score, *parts, rows, mass)
                learn_kernel(z_learn, late, *parts, latest[trees])

        in_two(lambda: some(slice(half), mass[0]), lambda: some(slice(half, None), mass[1]), len(z_score))
        if rows:
            score[:] = 1.0 - mass.sum(axis=0) / float(self.spec.trees * rows * splits.nodes)
        else:
            score[:] = 0.0

    def pivot(self, arrays: Arrays, cumulated: NDArray[np.int64]) -> None:
        """At the window's edge: latest becomes reference, and the scale follows the profile where it has moved.

        `cumulated` int64 (profiled, BINS + 1) is the feature profile at this row. The first window only sets the scale.
        """
        counter, scale = arrays["counter"], arrays["scale"]
        center, width = np.empty(len(self.columns)), np.empty(len(self.columns))
        scale_kernel(cumulated[self.profiled], self._edges, center, width)
        width *= BULK_WIDTHS
        if counter[PIVOTS] > 0:
            arrays["reference"][:] = arrays["latest"]
            counter[REFERENCE_ROWS] = counter[FILLED]
            scale[:2] = scale[2:]
        if counter[PIVOTS] == 0 or moved(scale[2], scale[3], center, width):
            scale[2], scale[3] = center, width
        arrays["latest"][:] = 0
        counter[SAME_SCALE] = int(np.array_equal(scale[:2], scale[2:]))
        counter[FILLED] = 0
        counter[PIVOTS] += 1
        counter[WINDOW] = min(2 * counter[WINDOW], self.spec.window_rows)

    def merge(self, one: Arrays, other: Arrays) -> Arrays:
        """What two streams learned since they shared a reference, together (law: mass adds).

        Raises ValueError where they do not share one: masses of other half-spaces cannot be added.
        """
        if any(not np.array_equal(one[name], other[name]) for name in ("reference", "scale")):
            raise ValueError("half_space_trees: expected one reference and scale, found two; pivot both alike first")
        merged = {name: array.copy() for name, array in one.items()}
        merged["latest"] += other["latest"]
        merged["counter"][FILLED] += other["counter"][FILLED]
        return merged


def moved(
    center: NDArray[np.float64],
    width: NDArray[np.float64],
    new_center: NDArray[np.float64],
    new_width: NDArray[np.float64],
) -> bool:
    """Whether any feature's scale has moved by more than a quarter: below that, equal scales save half of the walks."""
    return bool(
        (np.abs(new_center - center) > 0.25 * width).any()
        or (new_width > 1.25 * width).any()
        or (width > 1.25 * new_width).any()
    )


@njit(cache=True, nogil=True)
def child_kernel(node, value, threshold, reference):
    """The child that a value falls in; a missing one follows the heavier child of the reference profile."""
    left = 2 * node + 1
    if np.isnan(value):
        return left + 1 if reference[left] < reference[left + 1] else left
    return left if value < threshold else left + 1


@njit(cache=True, nogil=True)
def both_kernel(z, late, feature, threshold, reference, latest, rows, mass):
    """Score and learn in one walk, tree by tree so that a tree stays in the cache. `mass` int64 (n,) adds up."""
    inner = feature.shape[1]
    limit = SIZE_LIMIT_SHARE * rows
    for tree in range(len(feature)):
        masses = reference[tree]
        counts = latest[tree]
        splits = threshold[tree]
        columns = feature[tree]
        for i in range(len(z)):
            learn = not late[i]
            scoring = rows > 0
            node = 0
            weight = 1
            while node < inner:
                if scoring:
                    mass[i] += np.int64(masses[node]) * weight
                    scoring = masses[node] >= limit
                    weight <<= 1
                if learn:
                    counts[node] += 1
                elif not scoring:
                    break
                node = child_kernel(node, z[i, columns[node]], splits[node], masses)
            if node >= inner:
                if scoring:
                    mass[i] += np.int64(masses[node]) * weight
                if learn:
                    counts[node] += 1


@njit(cache=True, nogil=True)
def score_kernel(z, feature, threshold, reference, rows, mass):
    """Score by the reference alone."""
    if rows == 0:
        return
    inner = feature.shape[1]
    limit = SIZE_LIMIT_SHARE * rows
    for tree in range(len(feature)):
        for i in range(len(z)):
            node = 0
            weight = 1
            while node < inner:
                here = np.int64(reference[tree, node])
                mass[i] += here * weight
                if here < limit:
                    break
                weight <<= 1
                node = child_kernel(node, z[i, feature[tree, node]], threshold[tree, node], reference[tree])
            if node >= inner:
                mass[i] += np.int64(reference[tree, node]) * weight


@njit(cache=True, nogil=True)
def learn_kernel(z, late, feature, threshold, reference, latest):
    """Count rows into the latest profile alone."""
    inner = feature.shape[1]
    for tree in range(len(feature)):
        for i in range(len(z)):
            if late[i]:
                continue
            node = 0
            while node < inner:
                latest[tree, node] += 1
                node = child_kernel(node, z[i, feature[tree, node]], threshold[tree, node], reference[tree])
            latest[tree, node] += 1
