"""The boosted head: trees fitted in the background to the labelled rows of the pending store, swapped in at a set row.

Law (restore ≡ replay): when a fit starts follows from the log alone, and so does the row before which its trees take
over: `boosted_delay_rows` after the start. If they are not ready by then, the fold waits for them. Until then the rows
that are fitted are part of the state, so a restart in between fits the same ones again. The trainer must be a function
of its arguments; it is named in the spec, with its version, for the core knows no library of trees. Trees fitted on
another processor may differ in their last bits; by another version, a fit begun again may give other trees.

A tree is a complete one in heap order, children of i at 2i + 1, 2i + 2; `feature` < 0 is a leaf.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core.jit import inlined, kernel
from detector.core.pending import FRAUD, UNKNOWN, Pending, drawn
from detector.core.spec import Labels, SpecError

FIT_ROWS_MAX = 65_536  # newest of those that are taken
FIT_FRAUDS_MIN = 30
FIRST_FIT_ROWS = 8_192
FRAUDS_UNTIL_HALF = 1_000.0
GROWTH = 4  # a fit when the rows have grown by a quarter, and later by a quarter of the store
TREE_ARRAYS = ("feature", "threshold", "value", "left_if_missing")
USUAL_ARRAYS = (*TREE_ARRAYS, "usual")

# positions in `counter`; DUE is 0 while no fit runs
FITTED_ROWS, DUE, SWAPS, VERSION, FITTED_FRAUDS, ASKED_ROWS = range(6)

Trees = tuple[NDArray[np.int16], NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]
Trainer = Callable[[NDArray[np.float32], NDArray[np.bool_], int, int], Trees]


@dataclass(slots=True)
class Boosted:
    """The trees in force and, while a fit runs, the rows that it is given; `job` is no state: it can be begun again."""

    arrays: dict[str, NDArray[Any]]
    rows: dict[str, NDArray[Any]]
    job: Future[Trees] | None = field(default=None, compare=False)

    @property
    def weight(self) -> float:
        """Of the trees beside the online head: a linear model learns fastest, trees win with many frauds; 0 without."""
        frauds = float(self.arrays["counter"][FITTED_FRAUDS])
        return frauds / (frauds + FRAUDS_UNTIL_HALF)

    def nbytes(self) -> int:
        """Bytes held."""
        return sum(array.nbytes for array in (*self.arrays.values(), *self.rows.values()))


def new_boosted(labels: Labels, inputs: int) -> Boosted:
    """No trees. Raises SpecError where the trainer cannot be imported."""
    trees = labels.boosted_trees if labels.boosted_trainer else 0
    if trees:
        _trainer(labels.boosted_trainer)
    shape = (trees, 2 ** (labels.boosted_depth + 1) - 1)
    return Boosted(
        {
            "counter": np.zeros(6, np.int64),
            "feature": np.full(shape, -1, np.int16),
            "threshold": np.zeros(shape, np.float32),
            "value": np.zeros(shape, np.float32),
            "left_if_missing": np.zeros(shape, np.bool_),
            "usual": np.zeros(shape),
        },
        {"inputs": np.zeros((0, inputs), np.float32), "is_fraud": np.zeros(0, np.bool_)},
    )


def start(labels: Labels, boosted: Boosted, pending: Pending, rows: int) -> None:
    """Begin a fit where one is due and none runs; call before labels are taken in.

    Asked once between two rows: labels that come there may be taken in by any portions, at a restart by others.
    """
    counter = boosted.arrays["counter"]
    asked, counter[ASKED_ROWS] = int(counter[ASKED_ROWS]), rows
    last = int(counter[FITTED_ROWS])
    due = max(FIRST_FIT_ROWS, last + min(last, labels.pending_rows_max) // GROWTH)
    if not labels.boosted_trainer or counter[DUE] or rows < due or rows == asked:
        return
    held = min(rows, len(pending.identity))
    slots = (rows - held + np.arange(held)) % len(pending.identity)
    slots = slots[pending.label[slots] != UNKNOWN]
    is_fraud = pending.label[slots] == FRAUD
    frauds = int(np.count_nonzero(is_fraud))
    room = max(FIT_ROWS_MAX - frauds, FIT_ROWS_MAX // 2)
    taken = is_fraud.copy()
    taken[~is_fraud] = drawn(pending, slots[~is_fraud], labels.genuine_share, room)
    slots, is_fraud = slots[taken][-FIT_ROWS_MAX:], is_fraud[taken][-FIT_ROWS_MAX:]
    if frauds < FIT_FRAUDS_MIN or is_fraud.all():
        return
    counter[FITTED_ROWS] = rows
    counter[DUE] = rows + labels.boosted_delay_rows
    boosted.rows = {"inputs": pending.inputs[slots], "is_fraud": is_fraud}
    resume(labels, boosted)


def resume(labels: Labels, boosted: Boosted) -> None:
    """Begin, or after a restart begin again, what the state says is running."""
    if boosted.arrays["counter"][DUE] and boosted.job is None:
        train = _trainer(labels.boosted_trainer)
        given = boosted.rows
        boosted.job = _background().submit(
            train, given["inputs"], given["is_fraud"], labels.boosted_trees, labels.boosted_depth
        )


def rows_to_swap(boosted: Boosted, rows: int, most: int) -> int:
    """Rows that may follow the first `rows` before a swap is due, `most` at most; 0 when it is."""
    due = int(boosted.arrays["counter"][DUE])
    return min(most, due - rows) if due else most


def swap(labels: Labels, boosted: Boosted) -> None:
    """Put the fitted trees in force, waiting for them where need be. Raises what the trainer raised."""
    resume(labels, boosted)
    assert boosted.job is not None, "a swap is due only where a fit was begun"
    digest = hashlib.sha256()
    for name, array in zip(TREE_ARRAYS, boosted.job.result(), strict=True):
        boosted.arrays[name][:] = array
        digest.update(boosted.arrays[name].tobytes())
    counter = boosted.arrays["counter"]
    counter[DUE] = 0
    counter[SWAPS] += 1
    counter[FITTED_FRAUDS] = np.count_nonzero(boosted.rows["is_fraud"])
    counter[VERSION] = int.from_bytes(digest.digest()[:4], "big")
    boosted.rows = {name: array[:0].copy() for name, array in boosted.rows.items()}
    boosted.job = None


def margins(boosted: Boosted, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
    """The trees' log-odds of each row (n, m)."""
    margin = np.zeros(len(inputs))
    feature, threshold, value, left_if_missing = (boosted.arrays[name] for name in TREE_ARRAYS)
    margins_kernel(inputs, feature, threshold, value, left_if_missing, margin)
    return margin


def find_usual(boosted: Boosted, inputs: NDArray[np.float32]) -> None:
    """What may be expected under each node, by the rows (n, m) that come there."""
    if not boosted.arrays["counter"][SWAPS]:
        return
    feature, threshold, value, left_if_missing, usual = (boosted.arrays[name] for name in USUAL_ARRAYS)
    usual_kernel(inputs, feature, threshold, value, left_if_missing, np.zeros(feature.shape[1], np.int64), usual)


def credits(boosted: Boosted, row: NDArray[np.float32]) -> tuple[NDArray[np.float64], float]:
    """What each input of `row` (m,) adds to the trees' log-odds (m,), and the base that they add to; see `credit`."""
    given = np.zeros(len(row))
    feature, threshold, value, left_if_missing, usual = (boosted.arrays[name] for name in USUAL_ARRAYS)
    return given, credit_kernel(row, feature, threshold, value, left_if_missing, usual, given)


@cache
def _trainer(name: str) -> Trainer:
    module, _, function = name.rpartition(".")
    try:
        found: Trainer = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise SpecError(f"expected a trainer that can be imported, found {name!r}: {error}") from error
    return found


@cache
def _background() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="boosting")


@inlined
def next_kernel(row, tree, node, feature, threshold, left_if_missing):
    """The child that a row (m,) goes to from an inner node."""
    one = row[feature[tree, node]]
    left = left_if_missing[tree, node] if np.isnan(one) else one < threshold[tree, node]
    return 2 * node + 1 if left else 2 * node + 2


@kernel
def margins_kernel(inputs, feature, threshold, value, left_if_missing, margin):
    """Walk every tree for every row."""
    for i in range(len(inputs)):
        total = 0.0
        for tree in range(len(feature)):
            node = 0
            while feature[tree, node] >= 0:
                node = next_kernel(inputs[i], tree, node, feature, threshold, left_if_missing)
            total += np.float64(value[tree, node])
        margin[i] = total


@kernel
def usual_kernel(inputs, feature, threshold, value, left_if_missing, rows, usual):
    """Fill `usual` (trees, nodes): the mean of the leaves under a node over the rows there; `rows` (nodes,) is scratch.

    Where no row came, both children count alike.
    """
    for tree in range(len(feature)):
        rows[:] = 0
        for i in range(len(inputs)):
            node = 0
            rows[0] += 1
            while feature[tree, node] >= 0:
                node = next_kernel(inputs[i], tree, node, feature, threshold, left_if_missing)
                rows[node] += 1
        for node in range(len(rows) - 1, -1, -1):
            if feature[tree, node] < 0:
                usual[tree, node] = value[tree, node]
                continue
            left, right = 2 * node + 1, 2 * node + 2
            share = rows[left] / rows[node] if rows[node] > 0 else 0.5
            usual[tree, node] = share * usual[tree, left] + (1.0 - share) * usual[tree, right]


@kernel
def credit_kernel(row, feature, threshold, value, left_if_missing, usual, credit):
    """Credit of one row (m,), added up over all trees into `credit` (m,); returns what is usual."""
    base = 0.0
    for tree in range(len(feature)):
        node = 0
        base += usual[tree, 0]
        while feature[tree, node] >= 0:
            child = next_kernel(row, tree, node, feature, threshold, left_if_missing)
            credit[feature[tree, node]] += usual[tree, child] - usual[tree, node]
            node = child
    return base
