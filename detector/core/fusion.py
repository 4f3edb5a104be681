"""Surprise of the members → one anomaly → risk score 0–1000: where a row stands among the rows before it.

A running distribution of the fused score is kept in integer bins (a Fenwick tree, so a rank costs twelve additions).
Risk is the share of earlier rows that scored lower, times a thousand: 990 means that one row in a hundred is higher.
Above 990 ranks are not counted: the risk goes on by the score's own height, a nat of it being a nat of the share. So a
burst does not use the highest ranks up, what is odder has the higher risk whenever it comes, and the scale up there is
the same all year, for it hangs on one quantile alone.
Counts halve once in a while, so the scale follows the stream; a young stream's often, for its usual is yet to come.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.core.jit import inlined, kernel

BINS = 4_096  # a power of two, for the Fenwick tree
POWER = 2.5  # of the surprise in its mean: a square times a root
NATS_LINEAR, NATS_MAX = 8.0, 30.0  # 1 - exp(-30) leaves room below 1 in 64 bits
TAIL_SHARE, TAIL_ROWS = 0.01, 16  # with such a share, or so many rows, above it a rank is counted; beyond goes on ...
TAIL_INDEX = 4.0  # ... a Pareto tail of this index: nearly exponential, and never at an end
LEAST_SHARE = 1e-12
BINS_AN_OCTAVE = 64.0  # of 1 - score: a bin is a step of 1 % in the mass that a row shares
BINS_A_NAT = BINS_AN_OCTAVE / np.log(2.0)


def score_bins(score: NDArray[np.float64]) -> NDArray[np.int64]:
    """Bins (n,) of fused scores (n,) in 0–1: logarithmic in 1 − score, fine where it matters."""
    octaves = -np.log2(np.maximum(1.0 - score, 2.0**-63))
    return np.minimum((octaves * BINS_AN_OCTAVE).astype(np.int64), BINS - 1)


def fuse(surprise: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """One score a row in 0–1, the *anomaly*, from the members' surprise (members, n) in nats: one minus a share.

    The weighted power mean of exponent POWER: where members agree it is what they say; a member that is much surprised
    is heard. Monotone in each; beyond NATS_LINEAR it rises ever slower, so that it never ends.
    """
    score = np.empty(surprise.shape[1])
    fuse_kernel(surprise, weight / weight.sum(), score)
    return score


def worth(surprise: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each member (members,) adds to the sum that the anomaly of one row is the root of."""
    added: NDArray[np.float64] = weight * surprise * surprise * np.sqrt(surprise)
    return added


@kernel
def fuse_kernel(surprise, share, score):
    """The same as `fuse` into `score` (n,); `share` (members,): the weights, which sum to one."""
    score[:] = 0.0
    for m in range(len(share)):
        for i in range(len(score)):
            nats = surprise[m, i]
            score[i] += share[m] * (nats * nats * np.sqrt(nats))
    room = NATS_MAX - NATS_LINEAR
    for i in range(len(score)):
        nats = score[i] ** (1.0 / POWER)
        beyond = max(nats - NATS_LINEAR, 0.0)
        nats = min(nats, NATS_LINEAR) + room * beyond / (room + beyond)
        score[i] = 1.0 - np.exp(-nats)


@inlined
def count_kernel(tree, position, amount):
    """Add to one bin of a Fenwick tree int64 (BINS + 1,)."""
    node = position + 1
    while node <= BINS:
        tree[node] += amount
        node += node & -node


@inlined
def below_kernel(tree, position):
    """How many were counted in bins under `position`."""
    node = position
    count = 0
    while node > 0:
        count += tree[node]
        node -= node & -node
    return count


@kernel
def halve_kernel(tree, even):
    """Halve every bin; returns what is left in total. The tree is taken apart into its bins and back.

    Rounded down, so that what single rows said is forgotten first; or, `even`, such that what lies below each bin is
    halved to the unit, and the far tail keeps its share.
    """
    for node in range(BINS, 0, -1):
        parent = node + (node & -node)
        if parent <= BINS:
            tree[parent] -= tree[node]
    below = 0
    total = 0
    for node in range(1, BINS + 1):
        below += tree[node]
        tree[node] = (below >> 1) - total if even else tree[node] >> 1
        total += tree[node]
    for node in range(1, BINS + 1):
        parent = node + (node & -node)
        if parent <= BINS:
            tree[parent] += tree[node]
    return total


@inlined
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


@inlined
def rank_kernel(tree, total, position):
    """(rows counted in higher bins, rows in this bin)."""
    lower = below_kernel(tree, position)
    equal = below_kernel(tree, position + 1) - lower
    return total - lower - equal, equal


@inlined
def tail_share_kernel(tree, total, position):
    """The share of rows that score higher, half of the equals among them; beyond the highest TAIL_SHARE, by height.

    A count there would say more of how many oddities came before than of how odd the row is, and a slope fitted to the
    rows so far would order what comes in March otherwise than what comes in May.
    """
    higher, equal = rank_kernel(tree, total, position)
    counted = (higher + 0.5 * (equal + 1.0)) / (total + 1.0)
    share = max(TAIL_SHARE, TAIL_ROWS / max(total, 1))
    if higher > share * total or share > 0.25:
        return counted
    edge = quantile_bin_kernel(tree, total, 1.0 - share)
    if position <= edge:
        return counted
    above = total - below_kernel(tree, edge + 1)
    tail = (1.0 + (position - edge) / (TAIL_INDEX * BINS_A_NAT)) ** -TAIL_INDEX
    return max((above + 0.5) / (total + 1.0) * tail, LEAST_SHARE)
