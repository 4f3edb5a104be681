"""Which features a score comes from: credit that adds up to the score minus what a usual row scores.

Along the walk through a tree every split changes what may be expected of the row: from the mean of the leaves under a
node to the mean of those under the child that it goes to. The change is credited to the split's feature (Saabas,
*Interpreting random forests*, 2014; for isolation forests Carletti, Terzi, Susto, *DIFFI*, 2019), so credits along a
walk telescope: they sum to the leaf's value minus the mean of the whole tree, the *base*. Only what is frozen is read
(laws: prequential, cut invariance).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.core.jit import allocating, inlined, kernel


def scaled_to(credit: NDArray[np.float64], gain: float) -> NDArray[np.float64]:
    """Credits (m,) in proportion to those given, that sum to `gain`; all zero where they have no sum to go by."""
    total = float(credit.sum())
    if abs(total) <= 1e-12 * float(np.abs(credit).sum()):
        return np.zeros_like(credit)
    scaled: NDArray[np.float64] = credit * (gain / total)
    return scaled


def shared_out(credit: NDArray[np.float64], gain: float) -> NDArray[np.float64]:
    """As `scaled_to`, for credits that must sum to `gain` whatever happens: equal parts where they have no sum."""
    shared = np.empty(len(credit))
    share_kernel(credit, gain, shared)
    return shared


@kernel
def share_kernel(credit, gain, shared):
    """The same into `shared` (m,)."""
    total, size = 0.0, 0.0
    for m in range(len(credit)):
        total += credit[m]
        size += abs(credit[m])
    even = abs(total) <= 1e-9 * size
    for m in range(len(credit)):
        shared[m] = gain / len(credit) if even else credit[m] * (gain / total)


def fused(credits: NDArray[np.float64], surprise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Credits of all members (members, f) as one (f,): each gives out what it adds to the fused score.

    `surprise` (members,): that amount, weight included. A member that finds the row no odder than usual has nothing to
    give.
    """
    given = np.zeros(credits.shape[1])
    fuse_kernel(credits, surprise, given)
    return given


@kernel
def fuse_kernel(credits, surprise, given):
    """The same, added to `given` (f,)."""
    for member in range(len(credits)):
        gain, size = 0.0, 0.0
        for f in range(len(given)):
            gain += credits[member, f]
            size += abs(credits[member, f])
        if gain > 0.0 and surprise[member] > 0.0:
            for f in range(len(given)):
                given[f] += surprise[member] / size * credits[member, f]


@inlined
def size_kernel(credit):
    """All that was given and taken (f,), never zero."""
    size = 1e-300
    for f in range(len(credit)):
        size += abs(credit[f])
    return size


@kernel
def passed_on_kernel(credits, anomaly, given, own, share, bits, added):
    """Fill `added` (f,) with what features add to a blended score, by what they give members and the anomaly.

    `given` (inputs,): what all features, then the members, then the anomaly give a head, `own` (f,) where the features
    lie among these; the anomaly's own `bits` count for what is left of the heads' `share`. `credits` (members, f),
    `anomaly` (f,): what is given on, in parts of what was given and taken.
    """
    first = len(given) - len(credits) - 1
    size = size_kernel(anomaly)
    for f in range(len(added)):
        added[f] = given[own[f]] + ((1.0 - share) * bits + given[-1]) * anomaly[f] / size
    for member in range(len(credits)):
        size = size_kernel(credits[member])
        for f in range(len(added)):
            added[f] += given[first + member] * credits[member, f] / size


@kernel
def hide_kernel(added, watched, part_min):
    """Minus infinity in `added` (f,) where a feature is not `watched` (f,) and gives less than that part of all."""
    size = size_kernel(added)
    for f in range(len(added)):
        if not watched[f] and added[f] < part_min * size:
            added[f] = -np.inf


@allocating
def means_kernel(weight, value, mean):
    """Fill `mean` (trees, inner): what may be expected under each node.

    `weight`, `value` (trees, leaves): rows that a leaf held, and what it says; where no row was, leaves count alike.
    """
    leaves = weight.shape[1]
    inner = leaves - 1
    rows = np.empty(inner + leaves)
    said = np.empty(inner + leaves)
    for tree in range(len(weight)):
        for leaf in range(leaves):
            rows[inner + leaf] = weight[tree, leaf]
            said[inner + leaf] = value[tree, leaf]
        for node in range(inner - 1, -1, -1):
            left, right = 2 * node + 1, 2 * node + 2
            rows[node] = rows[left] + rows[right]
            if rows[node] > 0.0:
                said[node] = (rows[left] * said[left] + rows[right] * said[right]) / rows[node]
            else:
                said[node] = 0.5 * (said[left] + said[right])
            mean[tree, node] = said[node]


@kernel
def walk_kernel(z, feature, threshold, heavier, height, mean, value, credit, leaf):
    """Credit (m,) of one row `z` (m,), added up over all trees; returns what an empty walk says, summed over trees.

    `mean` (trees, inner) is that of `means_kernel`, `value` (trees, leaves) what a leaf says. Fills `leaf` int32
    (trees,) with where the row ends.
    """
    inner = feature.shape[1]
    base = 0.0
    for tree in range(len(feature)):
        node = 0
        before = np.float64(mean[tree, 0])
        base += before
        for _ in range(height):
            column = feature[tree, node]
            number = z[column]
            right = heavier[tree, node] if np.isnan(number) else number >= threshold[tree, node]
            node = 2 * node + 1 + right
            now = np.float64(mean[tree, node] if node < inner else value[tree, node - inner])
            credit[column] += now - before
            before = now
        leaf[tree] = node - inner
    return base
