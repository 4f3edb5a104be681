"""A rolling isolation forest: trees built of a few hundred recent rows each, replaced in turn by newer ones.

Liu, Ting, Zhou, *Isolation Forest*, ICDM 2008: random splits part a rare row from the others early, so the mean length
of its paths is short; the score is two to the minus (mean length ÷ the length expected of a random search tree). Each
tree is built of rows drawn from the reservoir, at a pivot and nowhere else, so what scores is frozen in between (law:
cut invariance). A missing value follows the heavier child.

Fails where anomalies hide inside the range of every single feature, and knows nothing finer than its few hundred rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core import credit
from detector.core import spec as spec_
from detector.core.jit import allocating, kernel
from detector.core.reservoir import LARGEST, draws
from detector.core.trees import sum_kernel, walk_kernel
from detector.core.turns import FILLED, OWN, Turning, join, new_counter, take, turn

EULER = 0.5772156649015329
LEARNED, BUILT, COUNTER = range(OWN, OWN + 3)

Arrays = dict[str, NDArray[Any]]
Trace = Any


class RollingForest(Turning):
    """The member: immutable plan; its state lives in the arrays that it is handed."""

    name = "isolation_forest"

    def __init__(
        self, spec: spec_.IsolationForest, columns: NDArray[np.int64], profiled: NDArray[np.int64], seed: int
    ) -> None:
        """`columns` of the feature matrix that it looks at, and their columns in the reservoir."""
        self.spec = spec
        self.columns = columns
        self.profiled = profiled
        self.seed = seed
        self.height = max(1, int(np.ceil(np.log2(spec.sample_rows))))

    def new_arrays(self) -> Arrays:
        """The state before the first row: `feature` int16, `threshold` float32, `heavier` bool (trees, inner), `length`
        float32 (trees, leaves), in units of the length that is expected, `mean` float32 (trees, inner), of its rows.
        """
        trees, leaves = self.spec.trees, 2**self.height
        return {
            "counter": new_counter(COUNTER, self.spec.pivot_rows),
            "feature": np.zeros((trees, leaves - 1), np.int16),
            "threshold": np.zeros((trees, leaves - 1), np.float32),
            "heavier": np.zeros((trees, leaves - 1), np.bool_),
            "length": np.zeros((trees, leaves), np.float32),
            "mean": np.zeros((trees, leaves - 1), np.float32),
        }

    def ready(self, arrays: Arrays) -> bool:
        """Whether there are trees to score by."""
        return bool(arrays["counter"][BUILT] > 0)

    def score(self, arrays: Arrays, features: NDArray[np.float64], score: NDArray[np.float64]) -> Trace:
        """Score rows (n, f) into `score` (n,) by the trees there are; 0 until there are any. No trace."""
        if not self.ready(arrays):
            score[:] = 0.0
            return None
        rows = len(features)
        z = np.empty((len(self.columns), rows), np.float32)
        leaf = np.empty((self.spec.trees, rows), np.int32)
        hold_kernel(features, self.columns, z)
        walk_kernel(z, arrays["feature"], arrays["threshold"], self.height, arrays["heavier"], leaf)
        score[:] = self._score(arrays, leaf)
        return None

    def _score(self, arrays: Arrays, leaf: NDArray[np.int32]) -> NDArray[np.float64]:
        """Scores (n,) of rows that lie in the leaves (trees, n)."""
        length = np.zeros(leaf.shape[1], np.float32)
        sum_kernel(leaf, arrays["length"], length)
        scores: NDArray[np.float64] = np.exp2(-length.astype(np.float64) / self.spec.trees)
        return scores

    def learn(self, arrays: Arrays, features: NDArray[np.float64], trace: Trace, taken: NDArray[np.bool_]) -> None:
        """Count the rows taken: what they say lies in the reservoir."""
        take(arrays["counter"], taken)

    def explain(self, arrays: Arrays, row: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """What each of the columns adds to the score of one row (f,), and the base that they add to; see `credit`."""
        given = np.zeros(len(self.columns))
        if not self.ready(arrays):
            return given, 0.0
        z, leaf = np.empty((len(self.columns), 1), np.float32), np.empty(self.spec.trees, np.int32)
        hold_kernel(row[None, :], self.columns, z)
        splits = arrays["feature"], arrays["threshold"], arrays["heavier"], self.height
        usual = credit.walk_kernel(z[:, 0], *splits, arrays["mean"], arrays["length"], given, leaf)
        base = 2.0 ** (-usual / self.spec.trees)
        return credit.shared_out(given, float(self._score(arrays, leaf[:, None])[0]) - base), base

    def restart(self, arrays: Arrays) -> None:
        """Every tree is due, and the next ones as soon as in a young stream."""
        arrays["counter"][LEARNED] = 0

    def pivot(self, arrays: Arrays, cumulated: NDArray[np.int64], sample: NDArray[np.float32]) -> None:
        """Replace the oldest trees: one every `rebuild_rows` learned, more while the stream is young."""
        counter, trees = arrays["counter"], self.spec.trees
        counter[LEARNED] += counter[FILLED]
        share = counter[FILLED] / max(1, counter[LEARNED])
        due = min(trees, max(int(np.ceil(share * trees)), int(counter[FILLED]) // self.spec.rebuild_rows, 1))
        if len(sample) == 0:
            due = 0
        size = min(self.spec.sample_rows, len(sample))
        numbers = len(self.columns) + size + 2 * (2**self.height - 1)
        held = np.empty(2**self.height, np.int16)  # rows in each leaf
        first = int(counter[BUILT])
        drawn = draws(self.seed, first * numbers, due * numbers).reshape(due, numbers)
        for number in range(due):
            tree = (first + number) % trees
            build_kernel(
                sample,
                self.profiled,
                size,
                drawn[number],
                arrays["feature"][tree],
                arrays["threshold"][tree],
                arrays["heavier"][tree],
                arrays["length"][tree],
                held,
            )
            credit.means_kernel(held[None], arrays["length"][tree : tree + 1], arrays["mean"][tree : tree + 1])
        counter[BUILT] += due
        turn(counter, self.spec.pivot_rows)

    def merge(self, one: Arrays, other: Arrays) -> Arrays:
        """Two streams' trees, which must be the same: what either learned lies in its reservoir, and those merge.

        Raises ValueError where the trees differ.
        """
        if any(not np.array_equal(one[name], other[name]) for name in ("feature", "threshold", "length")):
            raise ValueError("isolation_forest: expected one set of trees, found two; pivot both alike first")
        merged = {name: array.copy() for name, array in one.items()}
        join(merged["counter"], other["counter"])
        return merged


@kernel
def hold_kernel(features, columns, out):
    """Columns of `features` (n, f) as float32 (m, n), held to what trees were built of."""
    for m in range(len(columns)):
        column = columns[m]
        for i in range(len(features)):
            out[m, i] = min(max(features[i, column], -LARGEST), LARGEST)


@kernel
def expected_length_kernel(rows):
    """Mean length of an unsuccessful search in a binary search tree of that many rows."""
    if rows <= 1:
        return 0.0
    if rows == 2:
        return 1.0
    return 2.0 * (np.log(rows - 1.0) + EULER) - 2.0 * (rows - 1.0) / rows


@allocating
def build_kernel(sample, profiled, size, numbers, feature, threshold, heavier, length, held):
    """Build one tree on the columns `profiled` of `size` rows drawn from `sample` float32 (rows, any), none twice.

    `numbers` float64: draws. A node that cannot be parted sends all to the left, down to one leaf.
    """
    columns = len(profiled)
    order = np.arange(columns)
    for m in range(columns):
        other = m + int(numbers[m] * (columns - m))
        order[m], order[other] = order[other], order[m]
    chosen = np.arange(len(sample))
    for i in range(size):
        other = i + int(numbers[columns + i] * (len(sample) - i))
        chosen[i], chosen[other] = chosen[other], chosen[i]
    own = np.empty((columns, size), np.float32)  # the rows drawn, column by column
    for i in range(size):
        for m in range(columns):
            own[m, i] = sample[chosen[i], profiled[m]]
    chosen = np.arange(size)
    moved = np.empty(size, np.int64)
    used = columns + size
    inner = len(feature)
    start = np.zeros(2 * inner + 1, np.int64)
    stop = np.zeros(2 * inner + 1, np.int64)
    depth = np.zeros(2 * inner + 1)  # of the last node that was parted, plus one
    stop[0] = size
    for node in range(inner):
        left, right = 2 * node + 1, 2 * node + 2
        at, low, high = pick_kernel(own, chosen[start[node] : stop[node]], order, numbers[used + 2 * node])
        start[left], stop[left], start[right], stop[right] = start[node], stop[node], stop[node], stop[node]
        depth[left] = depth[right] = depth[node]
        feature[node], threshold[node], heavier[node] = order[0], np.inf, False
        if high > low:
            split = np.float32(low + (high - low) * numbers[used + 2 * node + 1])
            split = split if split > low else high
            middle, heavier[node] = part_kernel(own, chosen, start[node], stop[node], at, split, moved)
            stop[left] = start[right] = middle
            feature[node], threshold[node] = at, split
            depth[left] = depth[right] = depth[node] + 1.0
    expected = max(expected_length_kernel(size), 1.0)
    for leaf in range(inner, 2 * inner + 1):
        held[leaf - inner] = stop[leaf] - start[leaf]
        length[leaf - inner] = (depth[leaf] + expected_length_kernel(stop[leaf] - start[leaf])) / expected


@kernel
def pick_kernel(own, rows, order, number):
    """(column, lowest, highest value) of a random column in which `rows` differ; highest ≤ lowest where there is none.

    Columns are tried in the tree's own `order`, from a random one on.
    """
    first = int(number * len(order))
    for step in range(len(order)):
        at = order[(first + step) % len(order)]
        low, high = np.float32(np.inf), np.float32(-np.inf)
        column = own[at]
        for row in rows:
            value = column[row]
            if value < low:
                low = value
            if value > high:
                high = value
        if high > low:
            return at, low, high
    return order[first], np.float32(0.0), np.float32(0.0)


@kernel
def part_kernel(own, chosen, start, stop, column, split, moved):
    """Part chosen[start:stop] in place; (where the right part starts, whether it is the heavier).

    Rows without a value go with the heavier part. `moved` (size,) is room to work in: a row is written to both parts,
    and over it the next one in the part where it does not belong, for a branch guessed wrong costs more.
    """
    values = own[column]
    low = high = 0
    for place in range(start, stop):
        value = values[chosen[place]]
        low += value < split
        high += value >= split
    heavier = low < high
    front, right = start, 0
    for place in range(start, stop):
        row = chosen[place]
        value = values[row]
        goes_right = (value >= split) | ((value != value) & heavier)
        chosen[front] = row
        moved[right] = row
        front += 1 - goes_right
        right += goes_right
    for place in range(right):
        chosen[front + place] = moved[place]
    return front, heavier
