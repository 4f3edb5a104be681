"""Member scores → risk score 0–1000: where a row stands among the rows before it.

A running distribution of the fused score is kept in integer bins (a Fenwick tree, so a rank costs twelve additions).
Risk is the share of earlier rows that scored lower, times a thousand: 990 means that one row in a hundred is higher.
Counts halve once in a while, so the scale follows the stream.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

BINS = 4_096  # a power of two, for the Fenwick tree
BINS_AN_OCTAVE = 64.0  # of 1 - score: a bin is a step of 1 % in the mass that a row shares


def score_bins(score: NDArray[np.float64]) -> NDArray[np.int64]:
    """Bins (n,) of fused scores (n,) in 0–1: logarithmic in 1 − score, fine where it matters."""
    octaves = -np.log2(np.maximum(1.0 - score, 2.0**-63))
    return np.minimum((octaves * BINS_AN_OCTAVE).astype(np.int64), BINS - 1)


def fuse(score: NDArray[np.float64]) -> NDArray[np.float64]:
    """One score a row from member scores (members, n): the geometric mean of what is left to 1."""
    if len(score) == 1:
        only: NDArray[np.float64] = score[0]
        return only
    fused: NDArray[np.float64] = 1.0 - np.exp(np.log(np.maximum(1.0 - score, 2.0**-63)).mean(axis=0))
    return fused


@njit(cache=True, nogil=True)
def count_kernel(tree, position, amount):
    """Add to one bin of a Fenwick tree int64 (BINS + 1,)."""
    node = position + 1
    while node <= BINS:
        tree[node] += amount
        node += node & -node


@njit(cache=True, nogil=True)
def below_kernel(tree, position):
    """How many were counted in bins under `position`."""
    node = position
    count = 0
    while node > 0:
        count += tree[node]
        node -= node & -node
    return count


@njit(cache=True, nogil=True)
def halve_kernel(tree):
    """Halve every bin, rounding down; returns what is left in total."""
    total = 0
    bins = np.empty(BINS, np.int64)
    for position in range(BINS):
        bins[position] = (below_kernel(tree, position + 1) - below_kernel(tree, position)) >> 1
    tree[:] = 0
    for position in range(BINS):
        if bins[position] > 0:
            count_kernel(tree, position, bins[position])
            total += bins[position]
    return total


@njit(cache=True, nogil=True)
def quantile_bin_kernel(tree, total, share):
    """The lowest bin at or below which at least `share` of the rows lie."""
    target = share * total
    node = 0
    step = BINS
    count = 0
    while step > 0:
        ahead = node + step
        if ahead <= BINS and count + tree[ahead] < target:
            node = ahead
            count += tree[ahead]
        step >>= 1
    return min(node, BINS - 1)


def bin_score(position: int) -> float:
    """The lowest score of a bin: `score_bins` turned round."""
    return float(1.0 - 2.0 ** (-position / BINS_AN_OCTAVE))
