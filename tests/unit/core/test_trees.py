"""The walk through many trees at once ends where a walk node by node does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from detector.core.trees import walk_kernel

TREES, COLUMNS, ROWS = 3, 5, 40


def leaf_of(row: NDArray[Any], feature: NDArray[Any], threshold: NDArray[Any], heavier: NDArray[Any]) -> int:
    """Node by node."""
    node = 0
    while node < len(feature):
        value = row[feature[node]]
        right = bool(heavier[node]) if np.isnan(value) else value >= threshold[node]
        node = 2 * node + 1 + right
    return node - len(feature)


@pytest.mark.parametrize("height", range(1, 9))
@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_rows_end_where_a_walk_node_by_node_ends(height: int, kind: type[np.floating[Any]], missing: float) -> None:
    random = np.random.default_rng(height)
    inner = 2**height - 1
    z = random.standard_normal((COLUMNS, ROWS)).astype(kind)
    z[random.random(z.shape) < missing] = np.nan
    feature = random.integers(0, COLUMNS, (TREES, inner)).astype(np.int32)
    threshold = random.standard_normal((TREES, inner)).astype(kind)
    heavier = random.random((TREES, inner)) < 0.5
    unparted = random.random((TREES, inner)) < 0.1  # all go left
    threshold[unparted], heavier[unparted] = np.inf, False
    leaf = np.empty((TREES, ROWS), np.int32)
    walk_kernel(z, feature, threshold, height, heavier, leaf)
    for tree in range(TREES):
        nodes = feature[tree], threshold[tree], heavier[tree]
        assert leaf[tree].tolist() == [leaf_of(z[:, row], *nodes) for row in range(ROWS)]
