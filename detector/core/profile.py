"""The feature profile: one integer histogram a feature, from which scales, rarities and usual ranges are read.

Bins follow the bits of a float32: eight to an octave, either sign, from 2⁻²⁰ to 2⁴⁰, so one grid fits amounts, counts
and ratios alike, needs no calibration, and histograms of two tasks add up (law: mass adds). A pivot freezes the
cumulated counts as the *reference*; scoring and explaining read the reference alone, so they do not depend on how the
rows were cut into batches (law: cut invariance).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.core.jit import inlined, kernel

OCTAVE_BINS_SHIFT = 20  # keeps the exponent and three bits of the mantissa: 8 bins an octave
LOWEST = (127 - 20) << 3
SIDE = 60 * 8  # bins a sign
ZERO = SIDE  # the bin of |value| < 2**-20
BINS = 2 * SIDE + 1
NAN_BITS = 0x7F800000

ALL_UNTIL_ROWS = 4_096  # every row is counted up to here ...
ONE_IN = 8  # ... then one in eight: the shares asked of it are 1e-3, the cost is a histogram update a feature
COUNT_MAX = 1 << 18  # counted rows before all counts halve, so that the profile follows the stream

NEVER_PIVOTED = 0


def as_bits(values: NDArray[np.float64]) -> NDArray[np.int32]:
    """Values (n, f) as the bits of float32; out-of-range values saturate, NaN stays NaN."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, np.float32).view(np.int32)


@inlined
def bin_kernel(bits):
    """The bin of a value given by its bits; -1 for NaN."""
    magnitude = bits & 0x7FFFFFFF
    if magnitude > NAN_BITS:
        return -1
    step = (magnitude >> OCTAVE_BINS_SHIFT) - LOWEST + 1
    step = min(max(step, 0), SIDE)
    return ZERO + step if bits >= 0 else ZERO - step


@kernel
def learn_kernel(bits, late, counted, histogram):
    """Count rows into `histogram` int64 (f, BINS); `counted` int64 (2,): rows learned, rows counted since a halving."""
    for i in range(len(bits)):
        if late[i]:
            continue
        row = counted[0]
        counted[0] = row + 1
        if row >= ALL_UNTIL_ROWS and row % ONE_IN != 0:
            continue
        counted[1] += 1
        for f in range(bits.shape[1]):
            position = bin_kernel(bits[i, f])
            if position >= 0:
                histogram[f, position] += 1
        if counted[1] >= COUNT_MAX:
            counted[1] >>= 1
            for f in range(len(histogram)):
                for b in range(BINS):
                    histogram[f, b] >>= 1


def bin_edges() -> NDArray[np.float64]:
    """Edges (BINS + 1,) of the bins, ascending; bin b holds values from edge b to edge b + 1."""
    steps = np.arange(SIDE + 1)
    above = ((LOWEST + steps).astype(np.int32) << OCTAVE_BINS_SHIFT).view(np.float32).astype(np.float64)
    return np.concatenate([-above[::-1], above])


def cumulated(histogram: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts below each edge, (f, BINS + 1), of a histogram (f, BINS)."""
    below = np.zeros((len(histogram), BINS + 1), np.int64)
    cumulate_kernel(histogram, below)
    return below


@kernel
def cumulate_kernel(histogram, below):
    """The same into `below`, whose first column is 0."""
    for f in range(len(histogram)):
        count = 0
        for b in range(BINS):
            count += histogram[f, b]
            below[f, b + 1] = count


@kernel
def quantile_kernel(cumulated, edges, share):
    """The value below which `share` of the counted values lie, linear inside a bin; 0.0 when nothing was counted.

    `cumulated` int64 (BINS + 1,), leading 0.
    """
    count = cumulated[BINS]
    if count == 0:
        return 0.0
    target = share * count
    low = 0
    high = BINS
    while high - low > 1:
        middle = (low + high) // 2
        if cumulated[middle] <= target:
            low = middle
        else:
            high = middle
    if low == ZERO:
        return 0.0
    inside = cumulated[low + 1] - cumulated[low]
    part = (target - cumulated[low]) / inside if inside > 0 else 0.5
    return edges[low] + (edges[low + 1] - edges[low]) * min(max(part, 0.0), 1.0)


@kernel
def scale_kernel(cumulated, columns, edges, center, width):
    """Median and interquartile range of some features; a wider range where half the values are equal.

    `cumulated` int64 (any, BINS + 1), of which `columns` int64 (f,) are asked; fills `center`, `width` float64 (f,).
    """
    for f in range(len(columns)):
        counts = cumulated[columns[f]]
        center[f] = quantile_kernel(counts, edges, 0.5)
        width[f] = 0.0
        for tail in (0.25, 0.1, 0.05, 0.01, 0.001):
            spread = quantile_kernel(counts, edges, 1.0 - tail) - quantile_kernel(counts, edges, tail)
            if spread > 1e-3 * abs(center[f]) and spread > 0.0:
                width[f] = spread
                break
        if width[f] == 0.0:
            width[f] = max(1e-6, abs(center[f]))


@kernel
def squash_kernel(values, columns, center, width, out):
    """Scale to (0, 1), monotone, linear in the bulk: ½ + ½·u / (1 + |u|), u = (value − center) / width; NaN stays.

    `values` float64 (n, f), `columns` int64 (m,), `out` float64 (m, n), column by column.
    """
    for m in range(len(columns)):
        column = columns[m]
        for i in range(len(values)):
            u = (values[i, column] - center[m]) / width[m]
            out[m, i] = 0.5 + 0.5 * u / (1.0 + abs(u))


ABOVE, BELOW, EITHER, SAME = range(4)


@kernel
def rarity_kernel(cumulated, bits, side):
    """The share of counted values as extreme as this one: above it, below it, on either side, or in its very bin.

    Half of the value's own bin counts as beyond it, and one is added to either count, so that nothing is impossible.
    """
    position = bin_kernel(bits)
    if position < 0:
        return 1.0
    count = cumulated[BINS]
    own = cumulated[position + 1] - cumulated[position]
    if side == SAME:
        return (own + 1.0) / (count + 1.0)
    above = (count - cumulated[position + 1] + 0.5 * own + 1.0) / (count + 1.0)
    below = (cumulated[position] + 0.5 * own + 1.0) / (count + 1.0)
    if side == ABOVE:
        return min(1.0, above)
    if side == BELOW:
        return min(1.0, below)
    return min(1.0, above, below)
