"""Complete binary trees in heap order, walked by many rows at once: children of node i are 2i + 1 and 2i + 2.

A row goes right where its value is at or above the node's threshold; a missing value follows the heavier child.
"""

from __future__ import annotations

import numpy as np

from detector.core.jit import allocating, inlined, kernel

TOP = 3  # levels whose nodes are few enough to ask all of them


@allocating
def walk_kernel(z, feature, threshold, height, heavier, leaf):
    """Fill `leaf` int32 (trees, n) for the rows of `z` (m, n).

    Tree by tree, so that a tree stays in the cache; level by level and without a branch, so that no row waits for
    another. Positions are unsigned, which saves the look at negative ones.
    """
    rows = z.shape[1]
    inner = feature.shape[1]
    complete = True
    for value in z.reshape(-1):
        complete &= value == value
    known = z if complete else both_sides_kernel(z)
    values = known.reshape(-1)
    columns = np.empty(inner, np.int32)
    for tree in range(len(feature)):
        splits = threshold[tree]
        for position in range(inner):
            columns[position] = feature[tree, position] + (0 if complete else len(z) * heavier[tree, position])
        node = leaf[tree]
        if height >= TOP:
            top_kernel(known, columns, splits, node)
        else:
            node[:] = 0
        for _ in range(TOP if height >= TOP else 0, height):
            for i in range(rows):
                at = np.uint64(node[i])
                node[i] = 2 * node[i] + 1 + (values[np.uint64(columns[at] * rows + i)] >= splits[at])
        for i in range(rows):
            node[i] -= inner


@allocating
def both_sides_kernel(z):
    """`z` (m, n) twice, (2m, n): missing values go left by −∞ in the first half and right by ∞ in the second.

    So a node has only to know in which half to look, and no row has to be asked whether it has a value.
    """
    twice = np.empty((2 * z.shape[0], z.shape[1]), z.dtype)
    for m in range(len(z)):
        for i in range(z.shape[1]):
            value = z[m, i]
            twice[m, i] = value if value == value else -np.inf
            twice[m + len(z), i] = value if value == value else np.inf
    return twice


@inlined
def either_kernel(flag, one, other):
    """`one` where the flag is set, else `other`; no branch, as all three are known."""
    return other ^ ((one ^ other) & flag)


@kernel
def top_kernel(z, columns, splits, node):
    """Fill `node` int32 (n,) with where rows stand after three levels.

    All seven nodes are asked of every row: their columns lie one value beside the next, where a row's own way would be
    picked from all over the memory, which takes longer than the answers that are not needed.
    """
    line = (z[columns[0]], z[columns[1]], z[columns[2]], z[columns[3]], z[columns[4]], z[columns[5]], z[columns[6]])
    split = (splits[0], splits[1], splits[2], splits[3], splits[4], splits[5], splits[6])
    for i in range(len(node)):
        first = line[0][i] >= split[0]
        second = either_kernel(first, line[2][i] >= split[2], line[1][i] >= split[1])
        left = either_kernel(second, line[4][i] >= split[4], line[3][i] >= split[3])
        right = either_kernel(second, line[6][i] >= split[6], line[5][i] >= split[5])
        third = either_kernel(first, right, left)
        node[i] = 7 + 4 * np.int32(first) + 2 * np.int32(second) + np.int32(third)


@kernel
def sum_kernel(leaf, scores, total):
    """Add to `total` (n,) what the rows' leaves say: `scores` (trees, leaves)."""
    for tree in range(len(leaf)):
        leaves = leaf[tree]
        said = scores[tree]
        for i in range(len(total)):
            total[i] += said[np.uint64(leaves[i])]
