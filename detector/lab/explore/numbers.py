"""Statistics of the number columns, one pass, in memory that does not grow with the rows.

Exact: counts, least and greatest, mean, standard deviation, skewness, kurtosis (merged chunk by chunk: Pébay, Formulas
for robust, one-pass parallel computation of covariances and arbitrary-order statistical moments, 2008), and Pearson's
correlation of each pair over the rows that have both, of at most PAIRED_MAX columns: pairs grow with the square.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
PAIRED_MAX = 400


class Moments:
    """Of f columns. `add` takes (n, f) float64, NaN where missing; results are (f,).

    `paired` (p,) are the columns that are correlated, the first ones and the last.
    """

    def __init__(self, columns: int) -> None:
        self.rows = 0
        self.paired = np.unique(np.append(np.arange(min(columns, PAIRED_MAX - 1)), max(0, columns - 1)))[:columns]
        self.count = np.zeros(columns, np.int64)
        self.zeros = np.zeros(columns, np.int64)
        self.negatives = np.zeros(columns, np.int64)
        self.least, self.greatest = np.full(columns, np.inf), np.full(columns, -np.inf)
        self.mean = np.zeros(columns)
        self._second, self._third, self._fourth = (np.zeros(columns) for _ in range(3))
        self._shift: Floats | None = None
        self._scale = np.ones(len(self.paired))
        self._both, self._sums, self._squares, self._products = (np.zeros(2 * (len(self.paired),)) for _ in range(4))
        self._correlation: Floats | None = None

    def add(self, values: Floats) -> None:
        """The next rows."""
        there = ~np.isnan(values)
        count = there.sum(axis=0)
        filled = np.where(there, values, 0.0)
        mean = filled.sum(axis=0) / np.maximum(count, 1)
        away = np.where(there, values - mean, 0.0)
        square = away * away
        self.rows += len(values)
        self.zeros += ((values == 0) & there).sum(axis=0)
        self.negatives += (filled < 0).sum(axis=0)
        self.least = np.minimum(self.least, np.where(there, values, np.inf).min(axis=0, initial=np.inf))
        self.greatest = np.maximum(self.greatest, np.where(there, values, -np.inf).max(axis=0, initial=-np.inf))
        fourth = np.einsum("ij,ij->j", square, square)
        self._merge(count, mean, square.sum(axis=0), np.einsum("ij,ij->j", square, away), fourth)
        some = self.paired
        self._pairs(away[:, some], square[:, some], there[:, some], mean[some], count[some])
        self._correlation = None

    def _merge(self, count: Ints, mean: Floats, second: Floats, third: Floats, fourth: Floats) -> None:
        one, other = self.count.astype(float), count.astype(float)
        both = np.maximum(one + other, 1.0)
        delta = mean - self.mean
        self._fourth += fourth + delta**4 * one * other * (one**2 - one * other + other**2) / both**3
        self._fourth += 6 * delta**2 * (one**2 * second + other**2 * self._second) / both**2
        self._fourth += 4 * delta * (one * third - other * self._third) / both
        self._third += third + delta**3 * one * other * (one - other) / both**2
        self._third += 3 * delta * (one * second - other * self._second) / both
        self._second += second + delta**2 * one * other / both
        self.mean = self.mean + delta * other / both
        self.count = self.count + count

    def _pairs(self, away: Floats, square: Floats, there: NDArray[np.bool_], mean: Floats, count: Ints) -> None:
        """Sums for the correlations, of values moved and scaled by the first rows', so that no digits are lost."""
        if self._shift is None:
            self._shift = mean
            spread = np.sqrt(square.sum(axis=0) / np.maximum(count, 1))
            self._scale = np.where(spread > 0, spread, 1.0)
        moved = np.where(there, (away + mean - self._shift) / self._scale, 0.0)
        self._products += moved.T @ moved
        if there.all():
            self._both += len(moved)
            self._sums += moved.sum(axis=0)[:, None]
            self._squares += np.einsum("ij,ij->j", moved, moved)[:, None]
            return
        mask = there.astype(float)
        self._both += mask.T @ mask
        self._sums += moved.T @ mask
        self._squares += (moved * moved).T @ mask

    @property
    def deviation(self) -> Floats:
        """Standard deviations, of n - 1; NaN below two values."""
        spread = np.sqrt(self._second / np.maximum(self.count - 1, 1))
        return np.where(self.count > 1, spread, np.nan)

    @property
    def skewness(self) -> Floats:
        """NaN where nothing varies."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self._second > 0, np.sqrt(self.count) * self._third / self._second**1.5, np.nan)

    @property
    def kurtosis(self) -> Floats:
        """In excess of the normal's; NaN where nothing varies."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self._second > 0, self.count * self._fourth / self._second**2 - 3, np.nan)

    @property
    def correlation(self) -> Floats:
        """Pearson's of the `paired`, (p, p), not to be written to; NaN where one of the two does not vary."""
        if self._correlation is None:
            self._correlation = self._correlated()
        return self._correlation

    def _correlated(self) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = self._sums / self._both
            variance = self._squares / self._both - mean**2
            covariance = self._products / self._both - mean * mean.T
            found = covariance / np.sqrt(variance * variance.T)
        varies = np.where(self.least < self.greatest, 1.0, np.nan)[self.paired]
        whole: Floats = np.clip(found, -1.0, 1.0) * varies * varies[:, None]
        return whole
