"""Which features a score comes from: credit that adds up to the score minus what a usual row scores.

Along the walk through a tree every split changes what may be expected of the row: from the mean of the leaves under a
node to the mean of those under the child that it goes to. The change is credited to the split's feature (Saabas,
*Interpreting random forests*, 2014; for isolation forests Carletti, Terzi, Susto, *DIFFI*, 2019), so credits along a
walk telescope: they sum to the leaf's value minus the mean of the whole tree, the *base*. Only what is frozen is read
(laws: prequential, cut invariance).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


def scaled_to(credit: NDArray[np.float64], gain: float) -> NDArray[np.float64]:
    """Credits (m,) in proportion to those given, that sum to `gain`; all zero where they have no sum to go by."""
    total = float(credit.sum())
    if abs(total) <= 1e-12 * float(np.abs(credit).sum()):
        return np.zeros_like(credit)
    scaled: NDArray[np.float64] = credit * (gain / total)
    return scaled


def fused(credits: NDArray[np.float64], surprise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Credits of all members (members, f) as one (f,): each gives out what it adds to the fused score.

    `surprise` (members,): that amount, weight included. A member that finds the row no odder than usual has nothing to
    give.
    """
    size = np.abs(credits).sum(axis=1)
    gain = credits.sum(axis=1)
    share = np.where((gain > 0.0) & (surprise > 0.0), surprise / np.maximum(size, 1e-300), 0.0)
    given: NDArray[np.float64] = share @ credits
    return given


@njit(cache=True, nogil=True)
def walk_kernel(z, feature, threshold, heavier, height, weight, value, credit):
    """Credit (m,) of one row `z` (m,), added up over all trees; returns what an empty walk says, summed over trees.

    `weight`, `value` (trees, leaves): how many rows a leaf held, and what it says. Leaves under a node lie side by
    side, so a mean under any node is a difference of two running sums. Where no row was, leaves count alike.
    """
    leaves = weight.shape[1]
    inner = leaves - 1
    rows = np.empty(leaves + 1)
    sums = np.empty(leaves + 1)
    plain = np.empty(leaves + 1)
    rows[0] = 0.0
    sums[0] = 0.0
    plain[0] = 0.0
    base = 0.0
    for tree in range(len(feature)):
        for leaf in range(leaves):
            said = np.float64(value[tree, leaf])
            held = np.float64(weight[tree, leaf])
            rows[leaf + 1] = rows[leaf] + held
            sums[leaf + 1] = sums[leaf] + held * said
            plain[leaf + 1] = plain[leaf] + said
        node = 0
        first = 0
        width = leaves
        mean = sums[leaves] / rows[leaves] if rows[leaves] > 0.0 else plain[leaves] / leaves
        base += mean
        for _ in range(height):
            column = feature[tree, node]
            number = z[column]
            right = heavier[tree, node] if np.isnan(number) else number >= threshold[tree, node]
            width //= 2
            node = 2 * node + 1
            if right:
                node += 1
                first += width
            last = first + width
            before = mean
            if node >= inner:
                mean = np.float64(value[tree, first])
            else:
                held = rows[last] - rows[first]
                mean = (sums[last] - sums[first]) / held if held > 0.0 else (plain[last] - plain[first]) / width
            credit[column] += mean - before
    return base
