"""Complete binary trees in heap order, walked by many rows at once: children of node i are 2i + 1 and 2i + 2.

A row goes right where its value is at or above the node's threshold; a missing value follows the heavier child.
"""

from __future__ import annotations

import numpy as np

from detector.core.jit import inlined, kernel

TOP = 3  # levels whose nodes are few enough to ask all of them


@kernel
def walk_kernel(z, feature, threshold, height, heavier, leaf):
    """Fill `leaf` int32 (trees, n) for the rows of `z` (m, n).

    Tree by tree, so that a tree stays in the cache; level by level and without a branch, so that no row waits for
    another. Positions are unsigned, which saves the look at negative ones.
    """
    rows = z.shape[1]
    inner = feature.shape[1]
    values = z.reshape(-1)
    complete = True
    for value in values:
        complete &= value == value
    for tree in range(len(feature)):
        columns = feature[tree]
        splits = threshold[tree]
        heavy = heavier[tree]
        node = leaf[tree]
        if height >= TOP:
            top_kernel(z, columns, splits, heavy, node)
        else:
            node[:] = 0
        for _ in range(TOP if height >= TOP else 0, height):
            if complete:
                for i in range(rows):
                    at = np.uint64(node[i])
                    node[i] = 2 * node[i] + 1 + (values[np.uint64(columns[at] * rows + i)] >= splits[at])
            else:
                for i in range(rows):
                    at = np.uint64(node[i])
                    value = values[np.uint64(columns[at] * rows + i)]
                    node[i] = 2 * node[i] + 1 + right_kernel(value, splits[at], heavy[at])
        for i in range(rows):
            node[i] -= inner


@inlined
def right_kernel(value, split, heavy):
    """Whether a value goes right."""
    return (value >= split) | ((value != value) & heavy)


@inlined
def either_kernel(flag, one, other):
    """`one` where the flag is set, else `other`; no branch, as all three are known."""
    return other ^ ((one ^ other) & flag)


@kernel
def top_kernel(z, columns, splits, heavy, node):
    """Fill `node` int32 (n,) with where rows stand after three levels.

    All seven nodes are asked of every row: their columns lie one value beside the next, where a row's own way would be
    picked from all over the memory, which takes longer than the answers that are not needed.
    """
    values = (z[columns[0]], z[columns[1]], z[columns[2]], z[columns[3]], z[columns[4]], z[columns[5]], z[columns[6]])
    split = (splits[0], splits[1], splits[2], splits[3], splits[4], splits[5], splits[6])
    heavier = (heavy[0], heavy[1], heavy[2], heavy[3], heavy[4], heavy[5], heavy[6])
    for i in range(len(node)):
        first = right_kernel(values[0][i], split[0], heavier[0])
        second = either_kernel(
            first, right_kernel(values[2][i], split[2], heavier[2]), right_kernel(values[1][i], split[1], heavier[1])
        )
        third = either_kernel(
            first,
            either_kernel(
                second,
                right_kernel(values[6][i], split[6], heavier[6]),
                right_kernel(values[5][i], split[5], heavier[5]),
            ),
            either_kernel(
                second,
                right_kernel(values[4][i], split[4], heavier[4]),
                right_kernel(values[3][i], split[3], heavier[3]),
            ),
        )
        node[i] = 7 + 4 * np.int32(first) + 2 * np.int32(second) + np.int32(third)


@kernel
def sum_kernel(leaf, scores, total):
    """Add to `total` (n,) what the rows' leaves say: `scores` (trees, leaves)."""
    for tree in range(len(leaf)):
        leaves = leaf[tree]
        said = scores[tree]
        for i in range(len(total)):
            total[i] += said[np.uint64(leaves[i])]
