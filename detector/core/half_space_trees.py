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
from numpy.typing import NDArray

from detector.core import credit
from detector.core import spec as spec_
from detector.core.jit import allocating, kernel
from detector.core.profile import bin_edges, scale_kernel, squash_kernel
from detector.core.trees import sum_kernel, walk_kernel
from detector.core.turns import FILLED, OWN, PIVOTS, Turning, join, new_counter, take, turn

SIZE_LIMIT_SHARE = 0.1  # the paper's: a node with less of the window's mass ends the walk
PADDING = 0.15  # river's: splits keep away from the edges of their half-space
# interquartile ranges to a unit of the scaled row: half of the rows lie in the cube's middle ninth, where one split in
# six falls, so that the first split on a feature parts what is odd from what is usual, not the usual from itself
BULK_WIDTHS = 4.0

REFERENCE_ROWS, SAME_SCALE, COUNTER = range(OWN, OWN + 3)

Arrays = dict[str, NDArray[Any]]
Trace = Any


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


class HalfSpaceForest(Turning):
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
        """The state before the first row.

        `scale` float64 (4, m): center and width of the reference, of the latest. `reference`, `latest` int32 (trees,
        leaves): masses of the leaves; those of inner nodes are sums. Three tables are what `reference` comes to: `path`
        int64 (trees, leaves), what a row that ends in a leaf scores, `heavier` bool (trees, inner), whether the right
        child has more mass, and `mean` float64 (trees, inner), what rows under a node score on average.
        """
        trees, leaves = self.spec.trees, 2**self.splits.height
        scale = np.zeros((4, len(self.columns)))
        scale[1] = scale[3] = 1.0
        return {
            "counter": new_counter(COUNTER, self.spec.window_rows),
            "scale": scale,
            "reference": np.zeros((trees, leaves), np.int32),
            "latest": np.zeros((trees, leaves), np.int32),
            "path": np.zeros((trees, leaves), np.int64),
            "heavier": np.zeros((trees, leaves - 1), np.bool_),
            "mean": np.zeros((trees, leaves - 1)),
        }

    def ready(self, arrays: Arrays) -> bool:
        """Whether a reference profile exists to score by."""
        return bool(arrays["counter"][REFERENCE_ROWS] > 0)

    def score(self, arrays: Arrays, features: NDArray[np.float64], score: NDArray[np.float64]) -> Trace:
        """Score rows (n, f) into `score` (n,) by the reference; 0 until there is one.

        Returns the leaves that they end in, int32 (trees, n); None where the latest profile has another scale, so that
        they end elsewhere there, or where nothing scores yet.
        """
        counter, scale = arrays["counter"], arrays["scale"]
        if not counter[REFERENCE_ROWS]:
            score[:] = 0.0
            return None
        leaves = self.walk(arrays, self._scaled(features, scale[0], scale[1]), score)
        return leaves if counter[SAME_SCALE] else None

    def learn(self, arrays: Arrays, features: NDArray[np.float64], trace: Trace, taken: NDArray[np.bool_]) -> None:
        """Count the `taken` (n,) of the rows that gave `trace` into the latest profile, `rows_to_pivot` at most."""
        if trace is None:
            scale = arrays["scale"]
            trace = self.walk(arrays, self._scaled(features, scale[2], scale[3]), np.empty(len(features)))
        self.count(arrays, trace, taken)

    def _scaled(
        self, features: NDArray[np.float64], center: NDArray[np.float64], width: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The columns looked at, in the unit cube: float64 (m, n)."""
        z = np.empty((len(self.columns), len(features)))
        squash_kernel(features, self.columns, center, width, z)
        return z

    def walk(self, arrays: Arrays, z: NDArray[np.float64], score: NDArray[np.float64]) -> NDArray[np.int32]:
        """The same on rows already scaled to the unit cube, `z` float64 (m, n): fills `score`, returns the leaves."""
        splits = self.splits
        leaf = np.empty((self.spec.trees, z.shape[1]), np.int32)
        mass = np.zeros(z.shape[1], np.int64)
        walk_kernel(z, splits.feature, splits.threshold, splits.height, arrays["heavier"], leaf)
        sum_kernel(leaf, arrays["path"], mass)
        rows = int(arrays["counter"][REFERENCE_ROWS])
        score[:] = 1.0 - mass / float(self.spec.trees * rows * splits.nodes) if rows else 0.0
        return leaf

    def explain(self, arrays: Arrays, row: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """What each of the columns adds to the score of one row (f,), and the base that they add to; see `credit`."""
        rows, splits = int(arrays["counter"][REFERENCE_ROWS]), self.splits
        given = np.zeros(len(self.columns))
        if not rows:
            return given, 0.0
        z = self._scaled(row[None, :], *arrays["scale"][:2])[:, 0]
        tables = arrays["heavier"], splits.height, arrays["mean"], arrays["path"]
        leaf = np.empty(self.spec.trees, np.int32)
        base = credit.walk_kernel(z, splits.feature, splits.threshold, *tables, given, leaf)
        size = float(self.spec.trees * rows * splits.nodes)
        return given / -size, 1.0 - base / size

    def count(self, arrays: Arrays, leaf: NDArray[np.int32], taken: NDArray[np.bool_]) -> None:
        """Add the taken rows to the masses of their leaves."""
        count_kernel(leaf, taken, arrays["latest"])
        take(arrays["counter"], taken)

    def pivot(self, arrays: Arrays, cumulated: NDArray[np.int64], sample: NDArray[np.float32]) -> None:
        """At the window's edge: latest becomes reference, and the scale follows the profile where it has moved.

        `cumulated` int64 (profiled, BINS + 1) is the feature profile at this row; `sample` is not looked at. The first
        window only sets the scale.
        """
        counter, scale = arrays["counter"], arrays["scale"]
        center, width = np.empty(len(self.columns)), np.empty(len(self.columns))
        scale_kernel(cumulated, self.profiled, self._edges, center, width)
        width *= BULK_WIDTHS
        if counter[PIVOTS] > 0:
            self.freeze(arrays)
            scale[:2] = scale[2:]
        if counter[PIVOTS] == 0 or moved(scale[2], scale[3], center, width):
            scale[2], scale[3] = center, width
        arrays["latest"][:] = 0
        counter[SAME_SCALE] = int(np.array_equal(scale[:2], scale[2:]))
        turn(counter, self.spec.window_rows)

    def freeze(self, arrays: Arrays) -> None:
        """The latest masses become the reference, with the tables that are read from it."""
        arrays["reference"][:] = arrays["latest"]
        arrays["counter"][REFERENCE_ROWS] = arrays["counter"][FILLED]
        limit = SIZE_LIMIT_SHARE * arrays["counter"][FILLED]
        freeze_kernel(arrays["reference"], limit, arrays["path"], arrays["heavier"])
        credit.means_kernel(arrays["reference"], arrays["path"], arrays["mean"])

    def merge(self, one: Arrays, other: Arrays) -> Arrays:
        """What two streams learned since they shared a reference, together (law: mass adds).

        Raises ValueError where they do not share one: masses of other half-spaces cannot be added.
        """
        if any(not np.array_equal(one[name], other[name]) for name in ("reference", "scale")):
            raise ValueError("half_space_trees: expected one reference and scale, found two; pivot both alike first")
        merged = {name: array.copy() for name, array in one.items()}
        merged["latest"] += other["latest"]
        join(merged["counter"], other["counter"])
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


@kernel
def count_kernel(leaf, taken, latest):
    """Count rows into the leaves of the latest profile."""
    for tree in range(len(leaf)):
        counts = latest[tree]
        leaves = leaf[tree]
        for i in range(len(taken)):
            counts[np.uint64(leaves[i])] += taken[i]


@allocating
def freeze_kernel(reference, limit, path, heavier):
    """What each leaf scores: masses times two to the depth, summed along its way, until a mass lies below `limit`."""
    leaves = reference.shape[1]
    inner = leaves - 1
    mass = np.zeros(inner + leaves, np.int64)
    score = np.zeros(inner + leaves, np.int64)
    ended = np.zeros(inner + leaves, np.bool_)
    for tree in range(len(reference)):
        for node in range(inner + leaves - 1, -1, -1):
            if node >= inner:
                mass[node] = reference[tree, node - inner]
            else:
                mass[node] = mass[2 * node + 1] + mass[2 * node + 2]
                heavier[tree, node] = mass[2 * node + 1] < mass[2 * node + 2]
        weight = np.int64(1)
        last = 0  # of its level
        for node in range(inner + leaves):
            if node > last:
                weight *= 2
                last = 2 * last + 2
            above = (node - 1) // 2
            if node == 0:
                score[0], ended[0] = mass[0], mass[0] < limit
            elif ended[above]:
                score[node], ended[node] = score[above], True
            else:
                score[node], ended[node] = score[above] + mass[node] * weight, mass[node] < limit
        for node in range(inner, inner + leaves):
            path[tree, node - inner] = score[node]
