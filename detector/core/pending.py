"""The pending store: decided rows that a label may still find, the newest `pending_rows_max` of them in a ring.

A row is found by its identity, a hash of what a label calls the transaction. Of rows with one identity the newest is
found. What has left the ring is forgotten: a label that comes later finds nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.core.budget import tie_breaks
from detector.core.entities import find_slot_kernel, forget_key_kernel, index_size
from detector.core.jit import kernel

FIRST_ROWS = 1_024  # capacity before the first row; doubled up to the bound
UNKNOWN, GENUINE, FRAUD = range(3)  # values of `label`
RING = ("identity", "event_time_ms", "key", "inputs", "label", "arrived_s")

INPUT_MAX = np.float32(1e30)  # what single precision can still be scaled in


class Pending(NamedTuple):
    """A ring of r rows: row number i of the task lies at i % `pending_rows_max`; r grows up to that bound."""

    cells: NDArray[np.int32]  # open addressing, slot + 1, 0 is empty; rebuilt, never saved
    identity: NDArray[np.uint64]  # (r,)
    event_time_ms: NDArray[np.int64]  # (r,)
    key: NDArray[np.uint64]  # (r, entities with label features)
    inputs: NDArray[np.float32]  # (r, inputs of the head), NaN where missing
    label: NDArray[np.int8]  # (r,)
    arrived_s: NDArray[np.uint32]  # (r,) under which second the label counts


def new_pending(rows_max: int, entities: int, inputs: int) -> Pending:
    """An empty store."""
    rows = min(FIRST_ROWS, rows_max)
    return Pending(
        cells=np.zeros(index_size(rows), np.int32),
        identity=np.zeros(rows, np.uint64),
        event_time_ms=np.zeros(rows, np.int64),
        key=np.zeros((rows, entities), np.uint64),
        inputs=np.zeros((rows, inputs), np.float32),
        label=np.zeros(rows, np.int8),
        arrived_s=np.zeros(rows, np.uint32),
    )


def with_room(pending: Pending, rows: int, rows_max: int, more: int) -> Pending:
    """The store, large enough for `more` rows after the first `rows`, or as large as it may become."""
    wanted, held = min(rows + more, rows_max), len(pending.identity)
    if wanted <= held:
        return pending
    while held < wanted:
        held = min(2 * held, rows_max)
    for name in RING:
        array: NDArray[Any] = getattr(pending, name)
        array.resize((held, *array.shape[1:]), refcheck=False)  # no view outlives the call that made it
    return indexed(pending, rows)


def indexed(pending: Pending, rows: int) -> Pending:
    """The store with a fresh index; `rows` is the number of rows put in so far."""
    held = len(pending.identity)
    cells = np.zeros(index_size(held), np.int32)
    first = rows % held if rows > held else 0
    index_pending_kernel(cells, pending.identity, first, min(rows, held))
    return pending._replace(cells=cells)


def drawn(pending: Pending, slots: NDArray[np.int64], share: float, rows_max: int) -> NDArray[np.bool_]:
    """Which of `slots` (n,) a fit takes, (n,): a `share` of them, or what comes to `rows_max`, by their identity."""
    share = min(share, rows_max / max(len(slots), 1))
    taken: NDArray[np.bool_] = tie_breaks(pending.identity[slots].view(np.int64), 0) < share
    return taken


@kernel
def index_pending_kernel(cells, identity, first, count):
    """Enter `count` slots from `first` on, the oldest one, round the ring."""
    for i in range(count):
        enter_kernel(cells, identity, (first + i) % len(identity))


@kernel
def enter_kernel(cells, identity, slot):
    """Let a slot be found by its identity, in place of an older one."""
    wanted = identity[slot]
    if wanted == 0:
        return
    older = find_slot_kernel(cells, identity, wanted)
    if older >= 0:
        forget_key_kernel(cells, identity, older)
    mask = len(cells) - 1
    cell = np.int64(wanted & np.uint64(mask))
    while cells[cell] != 0:
        cell = (cell + 1) & mask
    cells[cell] = slot + 1


@kernel
def put_kernel(rows, rows_max, new_identity, new_time_ms, new_key, new_inputs, store):
    """Put rows in after the first `rows`; `new_key` (entities, n), `new_inputs` (n, inputs)."""
    cells, identity, event_time_ms, key, inputs, label, arrived_s = store
    for i in range(len(new_identity)):
        slot = (rows + i) % rows_max
        if rows + i >= rows_max and find_slot_kernel(cells, identity, identity[slot]) == slot:
            forget_key_kernel(cells, identity, slot)
        identity[slot] = new_identity[i]
        event_time_ms[slot] = new_time_ms[i]
        for entity in range(key.shape[1]):
            key[slot, entity] = new_key[entity, i]
        for column in range(inputs.shape[1]):
            inputs[slot, column] = new_inputs[i, column]
        label[slot] = UNKNOWN
        arrived_s[slot] = 0
        enter_kernel(cells, identity, slot)
