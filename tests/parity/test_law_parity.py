"""Law, parity: our half-space trees give the scores of river's `HalfSpaceTrees` on complete rows with equal splits.

river draws its splits itself; they are read out of its trees. It pivots at windows of one length, and takes a missing
feature's way by the profile that learns, where ours takes it by the one that scores (law: cut invariance); so rows here
are complete.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river.anomaly import HalfSpaceTrees as Theirs

from detector.core.half_space_trees import HalfSpaceForest, Splits
from detector.core.spec import HalfSpaceTrees
from detector.core.turns import FILLED
from tests.streams import examples


def splits_of(theirs: Theirs, names: list[str]) -> Splits:
    """river's trees in heap order."""
    inner = 2**theirs.height - 1
    feature = np.zeros((theirs.n_trees, inner), np.int32)
    threshold = np.zeros((theirs.n_trees, inner))
    for position, tree in enumerate(theirs.trees):
        nodes = {0: tree}
        for node in range(inner):
            branch = nodes.pop(node)
            feature[position, node] = names.index(branch.feature)
            threshold[position, node] = branch.threshold
            nodes[2 * node + 1], nodes[2 * node + 2] = branch.children
    return Splits(feature, threshold, theirs.height)


def our_scores(ours: HalfSpaceForest, rows: np.ndarray, window_rows: int, copy: bool) -> np.ndarray:
    """Window by window; `copy` takes the way of two walks, as when the scale has just moved."""
    arrays = ours.new_arrays()
    scores = np.empty(len(rows))
    for start in range(0, len(rows), window_rows):
        z = np.ascontiguousarray(rows[start : start + window_rows].T)
        leaf = ours.walk(arrays, z, scores[start : start + window_rows])
        ours.count(arrays, ours.walk(arrays, z, np.empty(z.shape[1])) if copy else leaf, np.ones(z.shape[1], np.bool_))
        if z.shape[1] == window_rows:
            pivot(ours, arrays)
    return scores


def pivot(ours: HalfSpaceForest, arrays: dict[str, np.ndarray]) -> None:
    """The masses change hands, as in `HalfSpaceForest.pivot`, which also moves the scale: here rows come scaled."""
    ours.freeze(arrays)
    arrays["latest"][:] = 0
    arrays["counter"][FILLED] = 0


def compare(rows: np.ndarray, trees: int, height: int, window_rows: int, seed: int) -> None:
    names = [f"x{column}" for column in range(rows.shape[1])]
    theirs = Theirs(n_trees=trees, height=height, window_size=window_rows, seed=seed)
    expected = np.empty(len(rows))
    for i, row in enumerate(rows):
        values = dict(zip(names, row.tolist(), strict=True))
        expected[i] = theirs.score_one(values)
        theirs.learn_one(values)
    columns = np.arange(len(names))
    ours = HalfSpaceForest(HalfSpaceTrees(trees, height, window_rows), columns, columns, seed)
    ours.splits = splits_of(theirs, names)
    for copy in (False, True):
        np.testing.assert_array_equal(our_scores(ours, rows, window_rows, copy), expected)


@examples(40, 8)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(1, 7),
    st.integers(1, 60),
    st.integers(1, 150),
)
def test_law_parity(seed: int, features: int, trees: int, height: int, window_rows: int, count: int) -> None:
    random = np.random.RandomState(seed)
    rows = random.random_sample((count, features)) ** random.randint(1, 5)
    rows[random.random_sample(count) < 0.2] = 0.5  # bursts of equal rows, and rows on edges of the cube
    rows[random.random_sample(count) < 0.1] = random.randint(0, 2)
    compare(rows, trees, height, window_rows, seed)


@pytest.mark.parametrize(("trees", "height", "window_rows"), [(25, 8, 250), (10, 8, 100)])
def test_law_parity_in_common_sizes(trees: int, height: int, window_rows: int) -> None:
    random = np.random.RandomState(3)
    rows = np.clip(random.normal(0.5, 0.15, (620, 4)), 0.0, 1.0)
    rows[::50] = random.random_sample((13, 4))
    compare(rows, trees, height, window_rows, seed=1)


def test_law_parity_on_river_s_own_example() -> None:
    """The figures of its documentation: three rows learned in a window of three, then seven scored."""
    values = np.array([0.5, 0.45, 0.43, 0.44, 0.445, 0.45, 0.0])
    theirs = Theirs(n_trees=5, height=3, window_size=3, seed=42)
    for value in values[:3]:
        theirs.learn_one({"x": value})
    column = np.zeros(1, np.int64)
    ours = HalfSpaceForest(HalfSpaceTrees(5, 3, 3), column, column, 0)
    ours.splits = splits_of(theirs, ["x"])
    arrays = ours.new_arrays()
    leaf = ours.walk(arrays, values[None, :3].copy(), np.empty(3))
    ours.count(arrays, leaf, np.ones(3, np.bool_))
    pivot(ours, arrays)
    scores = np.empty(len(values))
    ours.walk(arrays, values[None, :], scores)
    assert [round(score, 3) for score in scores] == [0.107, 0.071, 0.107, 0.107, 0.107, 0.071, 0.853]
