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
from detector.core.turns import FILLED, Turning, new_counter, turn

BINS = 64
RIDGE = 0.01  # of each column's variance is its own: columns that are one and the same leave a direction all the same
LEARNED, COUNTED, CALIBRATE, COUNTER = 3, 4, 5, 6
MEMORY_ROWS = 1 << 18
CALIBRATION_ROWS_MAX = 1 << 18
DEVIATION = 0.7413  # of an interquartile range: the standard deviation of normal values
LARGEST_SCALED = 1e9
# log2(1 + f) = f + f (1 - f) (A + B f + C f²), exact at 0 and 1, elsewhere within 2e-4
A, B, C = 0.43807325, -0.23669342, 0.0803073

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
        (projections, BINS): what a row in a bin scores.
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
            count_kernel(trace, taken, arrays["latest"])
        arrays["counter"][FILLED] += np.count_nonzero(taken)

    def explain(self, arrays: Arrays, row: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """What each of the columns adds to the score of one row (f,), and the base that they add to.

        Each projection gives its square of bits beyond a usual row's to its columns, by how far they move it.
        """
        given = np.zeros(len(self.columns))
        if not self.ready(arrays):
            return given, 0.0
        view = self.columns, arrays["center"], arrays["unit"], self.spec.view == "asinh"
        lines = self.chosen, arrays["weight"], arrays["grid"]
        said, base = explain_kernel(row, *view, *lines, arrays["reference"], arrays["table"], given)
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
        tabulate_kernel(arrays["reference"], arrays["table"])
        turn(counter, self.spec.pivot_rows)

    def calibrate(self, arrays: Arrays, cumulated: NDArray[np.int64], sample: NDArray[np.float32]) -> None:
        """Scales and widths by `sample` float32 (rows, m) and the profile; counts start again with its rows."""
        center, unit = arrays["center"], arrays["unit"]
        for column in range(sample.shape[1]):
            known = sample[:, column].astype(np.float64)
            center[column], unit[column] = self._scale_of(known[~np.isnan(known)], cumulated[self.profiled[column]])
        values = np.ascontiguousarray(sample.T)
        every = np.arange(len(values))
        z = self.scaled(arrays, values, every)
        projected = np.zeros((self.spec.projections, z.shape[1]), np.float32)
        if self.spec.view == "asinh":
            whiten_kernel(z, self.chosen, self.drawn, arrays["weight"])
        project_kernel(z, self.chosen, arrays["weight"], projected)
        deviation = np.array([spread(line) for line in projected]) * DEVIATION
        grid = arrays["grid"]
        grid[0] = 1.0 / (self.spec.width * deviation)
        grid[1] = BINS / 2 + 2.0 * self.shift - grid[0] * np.median(projected, axis=1)
        bins = self.bins(arrays, values, every)
        arrays["reference"][:] = 0
        count_kernel(bins, np.ones(len(sample), np.bool_), arrays["reference"])
        arrays["counter"][COUNTED] = len(sample)

    def _scale_of(self, known: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[float, float]:
        """Center and unit of a column from what the sample knows of it; its range from the whole profile too."""
        if len(known) == 0:
            return 0.0, 1.0
        center = float(np.median(known))
        if self.spec.view == "asinh":
            return center, spread(known)
        low, high = float(known.min()), float(known.max())
        if counts[-1] > 0:
            low = min(low, float(self._edges[np.searchsorted(counts, 0, side="right") - 1]))
            high = max(high, float(self._edges[np.searchsorted(counts, counts[-1], side="left")]))
        return center, high - low if high > low else max(1.0, abs(center))

    def merge(self, one: Arrays, other: Arrays) -> Arrays:
        """What two streams counted since a shared pivot, together (law: mass adds).

        Raises ValueError where they share none: bins of other widths cannot be added.
        """
        shared = ("grid", "weight", "center", "unit", "reference")
        if any(not np.array_equal(one[name], other[name]) for name in shared):
            raise ValueError(f"{self.name}: expected one calibration, found two; pivot both alike first")
        merged = {name: array.copy() for name, array in one.items()}
        merged["latest"] += other["latest"]
        merged["counter"][FILLED] += other["counter"][FILLED]
        return merged


def spread(values: NDArray[Any]) -> float:
    """The interquartile range; where half of the values are equal, a wider one; never zero."""
    low, high = 0.0, 0.0
    for tail in (0.25, 0.1, 0.05, 0.01, 0.0):
        low, high = np.quantile(values, (tail, 1.0 - tail))
        if high - low > 1e-6 * max(abs(low), abs(high)):
            return float(high - low)
    return max(1.0, abs(float(high)))


@kernel
def scale_kernel(values, columns, center, unit, out):
    """(value − center) ÷ unit of some rows of `values` (any, n) into `out` float32 (m, n); missing values become 0."""
    for m in range(len(columns)):
        column = columns[m]
        middle = center[m]
        factor = 1.0 / unit[m]
        for i in range(values.shape[1]):
            z = (values[column, i] - middle) * factor
            z = min(max(z, -LARGEST_SCALED), LARGEST_SCALED)
            out[m, i] = z if z == z else 0.0


@allocating
def asinh_kernel(z):
    """asinh of `z` float32 (n,) in place, within 2e-4: the logarithm is a polynomial on the bits of the float."""
    one = np.float32(1.0)
    a, b, c = np.float32(A), np.float32(B), np.float32(C)
    ln2 = np.float32(np.log(2.0))
    grown = np.empty_like(z)
    for i in range(len(z)):
        magnitude = abs(z[i])
        grown[i] = magnitude + np.sqrt(magnitude * magnitude + one)
    bits = grown.view(np.int32)
    mantissa = ((bits & np.int32(0x7FFFFF)) | np.int32(0x3F800000)).view(np.float32)
    for i in range(len(z)):
        f = mantissa[i] - one
        log2 = np.float32((bits[i] >> 23) - 127) + f + f * (one - f) * (a + f * (b + f * c))
        z[i] = np.copysign(log2 * ln2, z[i])


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
def explain_kernel(row, columns, center, unit, bent, chosen, weight, grid, reference, table, given):
    """Add to `given` (m,) what each column of a row (f,) adds to its bits; returns its score, and a usual row's."""
    z = np.empty((len(columns), 1), np.float32)
    scale_kernel(row.reshape((len(row), 1)), columns, center, unit, z)
    if bent:
        asinh_kernel(z.reshape(-1))
    bins = np.empty((len(chosen), 1), np.uint8)
    bin_kernel(z, chosen, weight, grid, bins)
    bits = np.zeros(1, np.float32)
    table_kernel(bins, table, bits)
    usual = credit_kernel(z.reshape(-1), chosen, weight, bins.reshape(-1), reference, table, given)
    said, base = np.float64(bits[0]) / len(bins), usual / len(bins)
    return 1.0 - np.exp2(-np.sqrt(said)), 1.0 - np.exp2(-np.sqrt(base))


@kernel
def credit_kernel(z, chosen, weight, bins, reference, table, given):
    """Add to `given` (m,) what each column adds to what the bins (projections,) say; returns what a usual row's say."""
    usual = 0.0
    for p in range(len(chosen)):
        rows = np.int64(0)
        even = odd = 0.0  # two sums, neither of which waits for the other
        for b in range(0, BINS, 2):
            rows += reference[p, b] + reference[p, b + 1]
            even += np.float64(reference[p, b]) * table[p, b]
            odd += np.float64(reference[p, b + 1]) * table[p, b + 1]
        said = (even + odd) / rows
        usual += said
        push = 0.0
        for k in range(chosen.shape[1]):
            push += abs(np.float64(weight[p, k]) * z[chosen[p, k]]) + 1e-9
        more = (table[p, np.int64(bins[p])] - said) / push
        for k in range(chosen.shape[1]):
            given[chosen[p, k]] += more * (abs(np.float64(weight[p, k]) * z[chosen[p, k]]) + 1e-9)
    return usual


@kernel
def table_kernel(bins, table, total):
    """Add to `total` (n,) what the bins (projections, n) score."""
    for p in range(len(bins)):
        said = table[p]
        own = bins[p]
        for i in range(len(total)):
            total[i] += said[np.uint64(own[i])]


@allocating
def count_kernel(bins, taken, counts):
    """Count the rows taken. Every other row is counted apart: an addition waits for the one before in the same bin."""
    apart = np.empty(BINS, counts.dtype)
    for p in range(len(bins)):
        own = counts[p]
        line = bins[p]
        apart[:] = 0
        for i in range(0, len(taken) - 1, 2):
            own[np.uint64(line[i])] += taken[i]
            apart[np.uint64(line[i + 1])] += taken[i + 1]
        if len(taken) % 2:
            own[np.uint64(line[len(taken) - 1])] += taken[len(taken) - 1]
        for b in range(BINS):
            own[b] += apart[b]


@kernel
def tabulate_kernel(counts, table):
    """The square of the bits of a bin: minus the mean log2 of its share and of its share at twice the width."""
    for p in range(len(counts)):
        total = 0
        for b in range(BINS):
            total += counts[p, b]
        empty = np.log2((total + 1.0) / 0.5)  # most bins are, and a logarithm is what costs here
        for pair in range(0, BINS, 2):
            rows = counts[p, pair] + counts[p, pair + 1]
            wide = np.log2((total + 1.0) / (rows + 0.5)) if rows > 0 else empty
            for b in range(pair, pair + 2):
                fine = np.log2((total + 1.0) / (counts[p, b] + 0.5)) if counts[p, b] > 0 else empty
                bits = 0.5 * (fine + wide)
                table[p, b] = bits * bits
