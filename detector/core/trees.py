"""Complete binary trees in heap order, walked by many rows at once: children of node i are 2i + 1 and 2i + 2.

A row goes right where its value is at or above the node's threshold; a missing value follows the heavier child.
"""

from __future__ import annotations

import numpy as np

from detector.core.jit import kernel


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
        node[:] = 0
        for _ in range(height):
            if complete:
                for i in range(rows):
                    at = np.uint64(node[i])
                    node[i] = 2 * node[i] + 1 + (values[np.uint64(columns[at] * rows + i)] >= splits[at])
            else:
                for i in range(rows):
                    at = np.uint64(node[i])
                    value = values[np.uint64(columns[at] * rows + i)]
                    node[i] = 2 * node[i] + 1 + ((value >= splits[at]) | ((value != value) & heavy[at]))
        for i in range(rows):
            node[i] -= inner


@kernel
def sum_kernel(leaf, scores, total):
    """Add to `total` (n,) what the rows' leaves say: `scores` (trees, leaves)."""
    for tree in range(len(leaf)):
        leaves = leaf[tree]
        said = scores[tree]
        for i in range(len(total)):
            total[i] += said[np.uint64(leaves[i])]
