"""The distance from the middle, in units of how rows usually spread and go together (Mahalanobis, 1936).

A row that is a little odd in many columns at once, or breaks what they have in common, lies far out, though no column
and no projection on a few of them shows it. Columns are the asinh of (value − median) ÷ FENCE interquartile ranges:
linear in the bulk, logarithmic beyond, so that a long tail neither stretches the spread nor drowns the other columns.

There are two covariances: that of all rows, which knows how far usual tails reach, and that of their *core*, the CORE
share of them that lies nearest, which a small crowd of oddities cannot stretch towards itself (after Rousseeuw, Van
Driessen, *A Fast Algorithm for the Minimum Covariance Determinant Estimator*, Technometrics, 1999; here the search
starts from the rows nearest to the medians, column by column). Where tails are long the first ranks better, where
oddities come in crowds the second; *d* is the geometric mean of both squared distances, each over its median, and the
score is d ÷ (1 + d).

Medians and ranges are read from the reservoir at pivots, at rows 64, 128, 256 … of what was learned, covariances there
and each REFIT_ROWS; between two of these nothing changes (law: cut invariance). A missing value stands at the median.

Fails where usual rows have no one middle: the hole of a ring, the room between two clusters.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core import credit
from detector.core import spec as spec_
from detector.core.jit import allocating, kernel
from detector.core.projections import CALIBRATION_ROWS_MAX, cholesky_kernel
from detector.core.scaling import asinh_kernel, read_lines, scale_kernel
from detector.core.turns import FILLED, OWN, Turning, join, new_counter, take, turn

LEARNED, CALIBRATED, CALIBRATE, REFIT, COUNTER = range(OWN, OWN + 5)
REFIT_ROWS = 1 << 14
FENCE = 2.0  # interquartile ranges from the median to where a box plot's whisker ends, of a symmetric column (Tukey)
CORE, CORE_STEPS = 0.75, 2
SQUARE_MIN = 1e-6  # of a mean over columns: rows nearer than that are equally usual

Arrays = dict[str, NDArray[Any]]
Trace = Any


class MahalanobisDistance(Turning):
    """The member: immutable plan; its state lives in the arrays that it is handed."""

    def __init__(
        self, spec: spec_.Mahalanobis, columns: NDArray[np.int64], profiled: NDArray[np.int64], _seed: int
    ) -> None:
        """`columns` of the feature matrix that it looks at, and their columns in the reservoir."""
        self.spec = spec
        self.name = spec.kind
        self.columns = columns
        self.profiled = profiled

    def new_arrays(self) -> Arrays:
        """The state before the first row.

        `center`, `unit` float64 (m,): what a value less the center is divided by. Of all rows and of their core: `mean`
        float32 (2, m), of the view; `whiten` float32 (2, m, m), lower triangular, makes the columns uncorrelated and
        the median squared distance one; `usual` float64 (1,): the median d.
        """
        columns = len(self.columns)
        return {
            "counter": new_counter(COUNTER, self.spec.pivot_rows),
            "center": np.zeros(columns),
            "unit": np.ones(columns),
            "mean": np.zeros((2, columns), np.float32),
            "whiten": np.zeros((2, columns, columns), np.float32),
            "usual": np.zeros(1),
        }

    def ready(self, arrays: Arrays) -> bool:
        """Whether the rows' spread is known."""
        return bool(arrays["counter"][CALIBRATED] > 0)

    def score(self, arrays: Arrays, features: NDArray[np.float64], score: NDArray[np.float64]) -> Trace:
        """Score rows (n, f) into `score` (n,); 0 until there is a covariance. Keeps nothing."""
        if not self.ready(arrays):
            score[:] = 0.0
            return None
        score[:] = bounded(distance(self._squares(arrays, self._scaled(arrays, features.T, self.columns))))
        return None

    def learn(self, arrays: Arrays, features: NDArray[np.float64], trace: Trace, taken: NDArray[np.bool_]) -> None:
        """Count the rows taken: what they say lies in the reservoir."""
        take(arrays["counter"], taken)

    def explain(self, arrays: Arrays, row: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """What each of the columns adds to the score of one row (f,), and the base, the score of a usual distance.

        A squared distance is a sum over columns, of the deviation times half the slope along it. Of the two distances
        each gives the share of itself: so does the logarithm of their product.
        """
        if not self.ready(arrays):
            return np.zeros(len(self.columns)), 0.0
        given = np.zeros(len(self.columns))
        view = self.columns, arrays["center"], arrays["unit"]
        own = credit_kernel(row, *view, arrays["mean"], arrays["whiten"], given)
        base = bounded(float(arrays["usual"][0]))
        return credit.shared_out(given, bounded(own) - base), base

    def restart(self, arrays: Arrays) -> None:
        """A calibration is due, and the next ones as soon as in a young stream."""
        counter = arrays["counter"]
        counter[LEARNED] = counter[CALIBRATE] = counter[REFIT] = 0

    def pivot(self, arrays: Arrays, cumulated: NDArray[np.int64], sample: NDArray[np.float32]) -> None:
        """Where it is due, read the sample anew."""
        counter = arrays["counter"]
        counter[LEARNED] += counter[FILLED]
        if counter[LEARNED] >= min(counter[CALIBRATE], counter[REFIT]) and len(sample):
            own = sample[:, self.profiled]
            if counter[LEARNED] >= counter[CALIBRATE]:
                self._rescale(arrays, own)
                counter[CALIBRATE] = counter[LEARNED] + min(counter[LEARNED], CALIBRATION_ROWS_MAX)
            self._refit(arrays, own)
            counter[REFIT] = counter[LEARNED] + REFIT_ROWS
            counter[CALIBRATED] = len(sample)
        turn(counter, self.spec.pivot_rows)

    def merge(self, one: Arrays, other: Arrays) -> Arrays:
        """Two streams' distances, which must be the same: what either learned lies in its reservoir, and those merge.

        Raises ValueError where they differ.
        """
        if any(not np.array_equal(one[name], other[name]) for name in ("center", "unit", "mean", "whiten")):
            raise ValueError("mahalanobis: expected one covariance, found two; pivot both alike first")
        merged = {name: array.copy() for name, array in one.items()}
        join(merged["counter"], other["counter"])
        return merged

    def _scaled(self, arrays: Arrays, values: NDArray[Any], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """The view of `values` (any, n) in the rows `columns`: float32 (m, n)."""
        z = np.empty((len(columns), values.shape[1]), np.float32)
        scale_kernel(values, columns, arrays["center"], arrays["unit"], z)
        asinh_kernel(z.reshape(-1))
        return z

    def _squares(self, arrays: Arrays, z: NDArray[np.float32]) -> NDArray[np.float64]:
        """Squared distances (2, n) of `z` (m, n), over m."""
        return np.stack([squares(z, *fit) for fit in zip(arrays["mean"], arrays["whiten"], strict=True)])

    def _rescale(self, arrays: Arrays, sample: NDArray[np.float32]) -> None:
        """Center and units by `sample` float32 (rows, m)."""
        columns = read_lines(np.ascontiguousarray(sample.T))
        arrays["center"][:] = columns.median
        arrays["unit"][:] = np.where(columns.known > 0, FENCE * columns.spread, 1.0)

    def _refit(self, arrays: Arrays, sample: NDArray[np.float32]) -> None:
        """Both covariances by `sample` float32 (rows, m)."""
        z = self._scaled(arrays, np.ascontiguousarray(sample.T), np.arange(sample.shape[1]))
        (mean, core_mean), (whiten, core_whiten) = arrays["mean"], arrays["whiten"]
        covariance_kernel(np.ascontiguousarray(z.T), mean, whiten)
        whiten /= np.float32(np.sqrt(np.median(squares(z, mean, whiten))))
        square = squares(z, np.zeros_like(mean), np.eye(len(mean), dtype=np.float32))
        for _ in range(CORE_STEPS):
            near = square <= np.quantile(square, CORE)
            covariance_kernel(np.ascontiguousarray(z[:, near].T), core_mean, core_whiten)
            square = squares(z, core_mean, core_whiten)
        core_whiten /= np.float32(np.sqrt(np.median(square)))
        arrays["usual"][0] = np.median(distance(self._squares(arrays, z)))


def squares(z: NDArray[np.float32], mean: NDArray[np.float32], whiten: NDArray[np.float32]) -> NDArray[np.float64]:
    """Squared distances (n,) of `z` (m, n), over m."""
    square = np.zeros(z.shape[1], np.float32)
    distance_kernel(z, mean, whiten, np.empty_like(square), square)
    return np.maximum(square.astype(np.float64) / len(z), SQUARE_MIN)


def distance(squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """d (n,) of squared distances (2, n)."""
    product: NDArray[np.float64] = np.sqrt(squares[0] * squares[1])
    return product


def bounded(distance: Any) -> Any:
    """A distance or distances of any height, in 0–1."""
    return distance / (1.0 + distance)


@allocating
def covariance_kernel(rows, mean, whiten):
    """The mean of `rows` float32 (n, m), and the inverse of the Cholesky factor of their covariance, lower triangular.

    Plain loops, for libraries do not add in the same order on all machines.
    """
    count, columns = rows.shape
    middle = np.zeros(columns)
    for i in range(count):
        for a in range(columns):
            middle[a] += rows[i, a]
    middle /= count
    lower = np.zeros((columns, columns))
    off = np.empty(columns)
    for i in range(count):
        for a in range(columns):
            off[a] = rows[i, a] - middle[a]
        for a in range(columns):
            for b in range(a + 1):
                lower[a, b] += off[a] * off[b]
    lower /= count
    cholesky_kernel(lower, count)
    inverse = np.zeros((columns, columns))
    for a in range(columns):
        inverse[a, a] = 1.0 / lower[a, a]
        for c in range(a):
            for b in range(c + 1):
                inverse[a, b] -= lower[a, c] * inverse[c, b]
        for b in range(a):
            inverse[a, b] /= lower[a, a]
    mean[:] = middle
    whiten[:] = inverse


@allocating
def credit_kernel(row, columns, center, unit, mean, whiten, given):
    """Add to `given` (m,) what each column is of both squared distances of a row (f,), each of them one; returns d."""
    count = len(columns)
    z = np.empty((count, 1), np.float32)
    scale_kernel(row.reshape((len(row), 1)), columns, center, unit, z)
    asinh_kernel(z.reshape(-1))
    off, slope = np.empty(count), np.empty(count)
    line, square = np.empty(1, np.float32), np.empty(1, np.float32)
    product = 1.0
    for fit in range(len(mean)):
        square[0] = 0.0
        distance_kernel(z, mean[fit], whiten[fit], line, square)
        own = max(np.float64(square[0]) / count, SQUARE_MIN)
        product *= own
        slope[:] = 0.0
        for a in range(count):
            off[a] = np.float64(z[a, 0]) - mean[fit, a]
            along = 0.0
            for b in range(a + 1):
                along += whiten[fit, a, b] * off[b]
            for b in range(a + 1):
                slope[b] += whiten[fit, a, b] * along
        for a in range(count):
            given[a] += off[a] * slope[a] / (count * own)
    return np.sqrt(product)


@kernel
def distance_kernel(z, mean, whiten, line, square):
    """Add to `square` (n,) the squared distances of `z` (m, n); `line` (n,) is room to work in."""
    for a in range(len(z)):
        start = np.float32(0.0)
        for b in range(a + 1):
            start -= whiten[a, b] * mean[b]
        line[:] = start
        done = (a + 1) // 4 * 4
        for b in range(0, done, 4):  # four at a time: the line is read and written once for them
            w0, w1, w2, w3 = whiten[a, b], whiten[a, b + 1], whiten[a, b + 2], whiten[a, b + 3]
            z0, z1, z2, z3 = z[b], z[b + 1], z[b + 2], z[b + 3]
            for i in range(len(line)):
                line[i] += w0 * z0[i] + w1 * z1[i] + w2 * z2[i] + w3 * z3[i]
        for b in range(done, a + 1):
            weight = whiten[a, b]
            column = z[b]
            for i in range(len(line)):
                line[i] += weight * column[i]
        for i in range(len(line)):
            square[i] += line[i] * line[i]
