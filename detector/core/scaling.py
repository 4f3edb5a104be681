"""Columns of a sample: their medians and spreads, and rows divided by these.

Sorting finds all quantiles at once. A missing value counts for nothing, and stands at the median where rows are scaled.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.core.jit import allocating, inlined, kernel

LARGEST_SCALED = 1e9
# log2(1 + f) = f + f (1 - f) (A + B f + C f²), exact at 0 and 1, elsewhere within 2e-4
A, B, C = 0.43807325, -0.23669342, 0.0803073
TAILS = (0.25, 0.1, 0.05, 0.01, 0.0)  # left out at either end: quartiles, and less where half of the values are equal


class Lines(NamedTuple):
    """What is known of some lines of values; each is (m,)."""

    known: NDArray[np.int64]  # values that are not missing
    median: NDArray[np.float64]  # 0 where none is known
    spread: NDArray[np.float64]  # the interquartile range, or a wider one, never zero; 1 where none is known
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def read_lines(values: NDArray[np.float32]) -> Lines:
    """Read the lines of `values` float32 (m, n)."""
    count = len(values)
    found = np.zeros((4, count))
    known = np.zeros(count, np.int64)
    lines_kernel(np.sort(values, axis=1), known, found)
    return Lines(known, *found)


@kernel
def lines_kernel(ordered, known, found):
    """Fill `known` (m,) and `found` (4, m), as `Lines` has them, from `ordered` (m, n), missing values last."""
    for m in range(len(ordered)):
        line = ordered[m]
        count = len(line)
        while count > 0 and np.isnan(line[count - 1]):
            count -= 1
        known[m] = count
        found[1, m] = 1.0
        if count == 0:
            continue
        found[0, m] = quantile_kernel(line, count, 0.5)
        found[2, m], found[3, m] = line[0], line[count - 1]
        found[1, m] = max(1.0, abs(found[3, m]))
        for tail in TAILS:
            low, high = quantile_kernel(line, count, tail), quantile_kernel(line, count, 1.0 - tail)
            if high - low > 1e-6 * max(abs(low), abs(high)):
                found[1, m] = high - low
                break


@inlined
def quantile_kernel(line, count, share):
    """The value below which `share` of the first `count` values of an ordered line lie, linear between two."""
    place = share * (count - 1)
    below = int(place)
    low = np.float64(line[below])
    return low + (place - below) * (np.float64(line[min(below + 1, count - 1)]) - low)


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
    """asinh of `z` float32 (n,) in place, within 2e-4."""
    one, ln2 = np.float32(1.0), np.float32(np.log(2.0))
    grown, octaves = np.empty_like(z), np.empty_like(z)
    for i in range(len(z)):
        magnitude = abs(z[i])
        grown[i] = magnitude + np.sqrt(magnitude * magnitude + one)
    log2_kernel(grown, octaves)
    for i in range(len(z)):
        z[i] = np.copysign(octaves[i] * ln2, z[i])


@allocating
def log2_kernel(x, out):
    """log2 of positive `x` float32 (n,) into `out`, rising, within 2e-4: a polynomial on the bits of the float."""
    one, a, b, c = np.float32(1.0), np.float32(A), np.float32(B), np.float32(C)
    bits = x.view(np.int32)
    mantissa = ((bits & np.int32(0x7FFFFF)) | np.int32(0x3F800000)).view(np.float32)
    for i in range(len(x)):
        f = mantissa[i] - one
        out[i] = np.float32((bits[i] >> 23) - 127) + f + f * (one - f) * (a + f * (b + f * c))
