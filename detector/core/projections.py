"""Histograms of sparse random projections: how rare a row is along many random directions.

After LODA (Pevný, *Loda: Lightweight on-line detector of anomalies*, Machine Learning, 2016): each projection looks at
√m of the columns with normal weights; its histogram has bins of a fixed width, in robust deviations of that projection,
read at two widths at once, the one and its double. The score is one minus a share, two to the minus *bits*: the root
mean square over projections of minus the log of the share of rows in the row's bin. Two *views* of a row: `range`,
columns divided by their range, which lets columns with a long tail say little; `asinh`, the asinh of (value − median) ÷
interquartile range, which lets every column speak and its tail be seen. Projections of the latter are *whitened*: their
weights are drawn by the inverse of the covariance of their columns, so that directions in which usual rows hardly
differ, as across columns that go together, are looked along as often as the wide ones.

Counts are integers and fade by halving. What calibrates (medians, ranges, deviations) is read from the reservoir at
pivots, at rows 64, 128, 256 … of what was learned; the histograms then start again from the reservoir's rows. Between
two pivots the table that scores is frozen (law: cut invariance), and counts learned since a shared pivot add up (law:
mass adds). A missing value stands at the median.

Fails where what is odd moves no projection: a rare value within the bulk of its column.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core import credit
from detector.core import spec as spec_
from detector.core.jit import allocating, kernel
from detector.core.profile import bin_edges
from detector.core.scaling import Lines, asinh_kernel, log2_kernel, read_lines, scale_kernel
from detector.core.turns import FILLED, OWN, Turning, join, new_counter, take, turn

BINS = 64
RIDGE = 0.01  # of each column's variance is its own: columns that are one and the same leave a direction all the same
LEARNED, COUNTED, CALIBRATE, COUNTER = range(OWN, OWN + 4)
MEMORY_ROWS = 1 << 18
CALIBRATION_ROWS_MAX = 1 << 18
DEVIATION = 0.7413  # of an interquartile range: the standard deviation of normal values

Arrays = dict[str, NDArray[Any]]
Trace = Any


class ProjectionForest(Turning):
    """The member: immutable plan; its state lives in the arrays that it is handed."""

    def __init__(
        self, spec: spec_.ProjectionHistograms, columns: NDArray[np.int64], profiled: NDArray[np.int64], seed: int
    ) -> None:
        """`columns` of the feature matrix that it looks at, and their columns in the reservoir."""
        self.spec = spec
        self.name = spec.kind
        self.columns = columns
        self.profiled = profiled
        random = np.random.RandomState(seed)
        count = min(len(columns), int(np.ceil(np.sqrt(len(columns)))))
        self.chosen = np.stack([random.permutation(len(columns))[:count] for _ in range(spec.projections)]).astype(
            np.int32
        )
        self.drawn = random.standard_normal(self.chosen.shape).astype(np.float32)
        self.shift = random.random_sample(spec.projections)
        self._edges = bin_edges()

    def new_arrays(self) -> Arrays:
        """The state before the first row.

        `center`, `unit` float64 (m,): what a value less the center is divided by. `grid` float32 (2, projections): bins
        a unit of the projection, and the bin of zero. `weight` float32 (projections, columns of each): the directions.
        `reference`, `latest` int32 (projections, BINS): counts at the last pivot and since. `table` float32
        (projections, BINS): what a row in a bin scores, and `usual` float64 (projections,) what rows score on average.
        """
        shape = (self.spec.projections, BINS)
        counter = new_counter(COUNTER, self.spec.pivot_rows)
        return {
            "counter": counter,
            "center": np.zeros(len(self.columns)),
            "unit": np.ones(len(self.columns)),
            "grid": np.zeros((2, self.spec.projections), np.float32),
            "weight": self.drawn.copy(),
            "reference": np.zeros(shape, np.int32),
            "latest": np.zeros(shape, np.int32),
            "table": np.zeros(shape, np.float32),
            "usual": np.zeros(self.spec.projections),
        }

    def ready(self, arrays: Arrays) -> bool:
        """Whether there is a table to score by."""
        return bool(arrays["counter"][COUNTED] > 0)

    def score(self, arrays: Arrays, features: NDArray[np.float64], score: NDArray[np.float64]) -> Trace:
        """Score rows (n, f) into `score` (n,); 0 until there is a table. Returns their bins, uint8 (projections, n)."""
        if not self.ready(arrays):
            score[:] = 0.0
            return None
        bins = self.bins(arrays, features.T, self.columns)
        bits = np.zeros(len(features), np.float32)  # squared
        table_kernel(bins, arrays["table"], bits)
        score[:] = 1.0 - np.exp2(-np.sqrt(bits.astype(np.float64) / self.spec.projections))
        return bins

    def learn(self, arrays: Arrays, features: NDArray[np.float64], trace: Trace, taken: NDArray[np.bool_]) -> None:
        """Count the rows taken."""
        if trace is not None:
            count_kernel(trace, np.flatnonzero(~taken), arrays["latest"])
        take(arrays["counter"], taken)

    def explain(self, arrays: Arrays, row: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """What each of the columns adds to the score of one row (f,), and the base that they add to.

        Each projection gives its square of bits beyond a usual row's to its columns, by how far they move it.
        """
        given = np.zeros(len(self.columns))
        if not self.ready(arrays):
            return given, 0.0
        view = self.columns, arrays["center"], arrays["unit"], self.spec.view == "asinh"
        lines = self.chosen, arrays["weight"], arrays["grid"]
        said, base = explain_kernel(row, *view, *lines, arrays["table"], arrays["usual"], given)
        return credit.shared_out(given, said - base), base

    def bins(self, arrays: Arrays, values: NDArray[Any], columns: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The bins, uint8 (projections, n), of `values` (any, n) in the rows `columns`."""
        z = self.scaled(arrays, values, columns)
        bins = np.empty((self.spec.projections, values.shape[1]), np.uint8)
        bin_kernel(z, self.chosen, arrays["weight"], arrays["grid"], bins)
        return bins

    def scaled(self, arrays: Arrays, values: NDArray[Any], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """The view of `values` (any, n) in the rows `columns`: float32 (m, n)."""
        z = np.empty((len(columns), values.shape[1]), np.float32)
        scale_kernel(values, columns, arrays["center"], arrays["unit"], z)
        if self.spec.view == "asinh":
            asinh_kernel(z.reshape(-1))
        return z

    def restart(self, arrays: Arrays) -> None:
        """A calibration is due, and the next ones as soon as in a young stream."""
        counter = arrays["counter"]
        counter[LEARNED] = counter[CALIBRATE] = 0

    def pivot(self, arrays: Arrays, cumulated: NDArray[np.int64], sample: NDArray[np.float32]) -> None:
        """Take what was counted into the table; where it is due, calibrate by the sample first."""
        counter = arrays["counter"]
        counter[LEARNED] += counter[FILLED]
        counter[COUNTED] += counter[FILLED] if self.ready(arrays) else 0
        arrays["reference"] += arrays["latest"]
        arrays["latest"][:] = 0
        if counter[LEARNED] >= counter[CALIBRATE] and len(sample):
            self.calibrate(arrays, cumulated, sample[:, self.profiled])
            counter[CALIBRATE] = counter[LEARNED] + min(counter[LEARNED], CALIBRATION_ROWS_MAX)
        while counter[COUNTED] > MEMORY_ROWS:
            arrays["reference"] >>= 1
            counter[COUNTED] >>= 1
        tabulate_kernel(arrays["reference"], arrays["table"], arrays["usual"])
        turn(counter, self.spec.pivot_rows)

    def calibrate(self, arrays: Arrays, cumulated: NDArray[np.int64], sample: NDArray[np.float32]) -> None:
        """Scales and widths by `sample` float32 (rows, m) and the profile; counts start again with its rows."""
        values = np.ascontiguousarray(sample.T)
        columns = read_lines(values)
        arrays["center"][:] = columns.median
        arrays["unit"][:] = columns.spread if self.spec.view == "asinh" else self._ranges(columns, cumulated)
        every = np.arange(len(values))
        z = self.scaled(arrays, values, every)
        projected = np.zeros((self.spec.projections, z.shape[1]), np.float32)
        if self.spec.view == "asinh":
            whiten_kernel(z, self.chosen, self.drawn, arrays["weight"])
        project_kernel(z, self.chosen, arrays["weight"], projected)
        lines = read_lines(projected)
        grid = arrays["grid"]
        grid[0] = 1.0 / (self.spec.width * DEVIATION * lines.spread)
        grid[1] = BINS / 2 + 2.0 * self.shift - grid[0] * lines.median
        bins = self.bins(arrays, values, every)
        arrays["reference"][:] = 0
        count_kernel(bins, np.empty(0, np.int64), arrays["reference"])
        arrays["counter"][COUNTED] = len(sample)

    def _ranges(self, columns: Lines, cumulated: NDArray[np.int64]) -> NDArray[np.float64]:
        """Ranges (m,) of columns: of what the sample knows, and of the whole profile too."""
        low, high = columns.low.copy(), columns.high.copy()
        for column, counts in enumerate(cumulated[self.profiled]):
            if columns.known[column] and counts[-1] > 0:
                low[column] = min(low[column], self._edges[np.searchsorted(counts, 0, side="right") - 1])
                high[column] = max(high[column], self._edges[np.searchsorted(counts, counts[-1], side="left")])
        return np.where(high > low, high - low, np.maximum(1.0, np.abs(columns.median)))

    def merge(self, one: Arrays, other: Arrays) -> Arrays:
        """What two streams counted since a shared pivot, together (law: mass adds).

        Raises ValueError where they share none: bins of other widths cannot be added.
        """
        shared = ("grid", "weight", "center", "unit", "reference")
        if any(not np.array_equal(one[name], other[name]) for name in shared):
            raise ValueError(f"{self.name}: expected one calibration, found two; pivot both alike first")
        merged = {name: array.copy() for name, array in one.items()}
        merged["latest"] += other["latest"]
        join(merged["counter"], other["counter"])
        return merged


@kernel
def cholesky_kernel(lower, rows):
    """The covariance of so many rows, read in the lower triangle of `lower` (m, m), turned into its Cholesky factor.

    Few rows say little of what columns have in common: the variances grow by one part in n for each column, so that
    less is made of it.
    """
    columns = len(lower)
    for a in range(columns):
        lower[a, a] = lower[a, a] * (1.0 + RIDGE + columns / rows) if lower[a, a] > 0.0 else 1.0
    for a in range(columns):
        for b in range(a + 1):
            total = lower[a, b]
            for c in range(b):
                total -= lower[a, c] * lower[b, c]
            lower[a, b] = np.sqrt(total) if a == b else total / lower[b, b]


@allocating
def whiten_kernel(z, chosen, drawn, weight):
    """Directions into `weight` float32 (projections, k), from the normal draws of that shape and the rows `z` (m, n).

    The solution w of Lᵀ w = draw, with L the Cholesky factor of the chosen columns' covariance, has the inverse of the
    covariance. Plain loops, for libraries do not add in the same order on all machines.
    """
    columns, rows = chosen.shape[1], z.shape[1]
    mean = np.empty(len(z))
    for m in range(len(z)):
        total = 0.0
        for i in range(rows):
            total += np.float64(z[m, i])
        mean[m] = total / rows
    lower = np.empty((columns, columns))
    for p in range(len(chosen)):
        for a in range(columns):
            one, one_mean = z[chosen[p, a]], mean[chosen[p, a]]
            for b in range(a + 1):
                other, other_mean = z[chosen[p, b]], mean[chosen[p, b]]
                total = 0.0
                for i in range(rows):
                    total += (one[i] - one_mean) * (other[i] - other_mean)
                lower[a, b] = total / rows
        cholesky_kernel(lower, rows)
        for a in range(columns - 1, -1, -1):
            total = np.float64(drawn[p, a])
            for b in range(a + 1, columns):
                total -= lower[b, a] * weight[p, b]
            weight[p, a] = total / lower[a, a]


@kernel
def project_kernel(z, chosen, weight, out):
    """Projections (projections, n) of `z` (m, n)."""
    for p in range(len(chosen)):
        line = out[p]
        line[:] = 0.0
        for k in range(chosen.shape[1]):
            column = z[chosen[p, k]]
            w = weight[p, k]
            for i in range(len(line)):
                line[i] += w * column[i]


@allocating
def bin_kernel(z, chosen, weight, grid, bins):
    """Bins (projections, n) of `z` (m, n); what lies beyond the first or the last bin is in it."""
    line = np.empty((1, z.shape[1]), np.float32)
    last = np.float32(BINS - 1)
    for p in range(len(chosen)):
        project_kernel(z, chosen[p : p + 1], weight[p : p + 1], line)
        scale, zero = grid[0, p], grid[1, p]
        for i in range(z.shape[1]):
            bins[p, i] = np.int32(min(max(line[0, i] * scale + zero, np.float32(0.0)), last))


@allocating
def explain_kernel(row, columns, center, unit, bent, chosen, weight, grid, table, usual, given):
    """Add to `given` (m,) what each column of a row (f,) adds to its bits; returns its score, and a usual row's."""
    z = np.empty((len(columns), 1), np.float32)
    scale_kernel(row.reshape((len(row), 1)), columns, center, unit, z)
    if bent:
        asinh_kernel(z.reshape(-1))
    bins = np.empty((len(chosen), 1), np.uint8)
    bin_kernel(z, chosen, weight, grid, bins)
    bits = np.zeros(1, np.float32)
    table_kernel(bins, table, bits)
    credit_kernel(z.reshape(-1), chosen, weight, bins.reshape(-1), table, usual, given)
    said, base = np.float64(bits[0]) / len(bins), usual.mean()
    return 1.0 - np.exp2(-np.sqrt(said)), 1.0 - np.exp2(-np.sqrt(base))


@kernel
def credit_kernel(z, chosen, weight, bins, table, usual, given):
    """Add to `given` (m,) what each column adds to what the bins (projections,) say beyond what is usual."""
    for p in range(len(chosen)):
        push = 0.0
        for k in range(chosen.shape[1]):
            push += abs(np.float64(weight[p, k]) * z[chosen[p, k]]) + 1e-9
        more = (table[p, np.int64(bins[p])] - usual[p]) / push
        for k in range(chosen.shape[1]):
            given[chosen[p, k]] += more * (abs(np.float64(weight[p, k]) * z[chosen[p, k]]) + 1e-9)


@kernel
def table_kernel(bins, table, total):
    """Add to `total` (n,) what the bins (projections, n) score."""
    for p in range(len(bins)):
        said = table[p]
        own = bins[p]
        for i in range(len(total)):
            total[i] += said[np.uint64(own[i])]


@allocating
def count_kernel(bins, left_out, counts):
    """Count rows, but for those `left_out`, few of them (their positions).

    Every fourth row is counted apart: an addition waits for the one before in the same bin.
    """
    rows = bins.shape[1]
    apart = np.empty((4, BINS), counts.dtype)
    first, second, third, fourth = apart[0], apart[1], apart[2], apart[3]
    one = np.int32(1)
    for p in range(len(bins)):
        line = bins[p]
        apart[:] = 0
        for i in range(0, rows - 3, 4):
            first[np.uint64(line[i])] += one
            second[np.uint64(line[i + 1])] += one
            third[np.uint64(line[i + 2])] += one
            fourth[np.uint64(line[i + 3])] += one
        for i in range(rows // 4 * 4, rows):
            first[np.uint64(line[i])] += one
        for i in left_out:
            first[np.uint64(line[i])] -= one
        own = counts[p]
        for b in range(BINS):
            own[b] += first[b] + second[b] + third[b] + fourth[b]


@allocating
def tabulate_kernel(counts, table, usual):
    """The square of the bits of a bin: minus the mean log2 of its share and of its share at twice the width.

    `usual` (projections,): the mean of that over the rows counted.
    """
    size = counts.size
    half = np.float32(0.5)
    rows = np.empty(2 * size, np.float32)  # of each bin, and of the pair that it is in
    for p in range(len(counts)):
        for b in range(0, BINS, 2):
            place = p * BINS + b
            one, other = np.float32(counts[p, b]), np.float32(counts[p, b + 1])
            rows[place], rows[place + 1] = one + half, other + half
            rows[size + place] = rows[size + place + 1] = one + other + half
    octaves = np.empty_like(rows)
    log2_kernel(rows, octaves)
    for p in range(len(counts)):
        total = counts[p].sum()
        most = np.float32(np.log2(total + 1.0))
        said = 0.0
        for b in range(BINS):
            place = p * BINS + b
            bits = most - half * (octaves[place] + octaves[size + place])
            table[p, b] = bits * bits
            said += np.float64(counts[p, b]) * table[p, b]
        usual[p] = said / max(total, 1)
