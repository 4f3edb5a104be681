"""The learning gate: what scores above all but one in a hundred is not learned, so that no burst becomes normal.

A window that learns an attack of a thousand rows takes the attack for usual before it is over. So a row whose fused
score exceeds the 99 % quantile of a long past is scored and decided, not learned. A stream that has really changed
would be locked out for ever: when more than half of the last rows exceed the quantile, the gate opens by itself, until
they no longer do.

A row belongs to a *burst* where it exceeds the quantile, the gate is shut, and more than three times as many of the
last rows exceed it as should. The scale of the risk score does not count such rows: an attack would raise what is
usual.

Row *j* sees what row *i* < *j* did to the gate, and the quantile moves at pivots only (law: cut invariance).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core.fusion import BINS
from detector.core.jit import kernel

SHARE = 0.01
RING_ROWS = 2_000
BURST_ROWS = int(3 * SHARE * RING_ROWS)
MEMORY_ROWS = 1 << 18  # counts halve here: the quantile's horizon is some 200,000 rows
COUNTED_MIN = 1_000  # before so many rows the gate is open

COUNTED, THRESHOLD, PLACE, EXCEEDING, HELD = range(5)  # positions in `counter`

Arrays = dict[str, NDArray[Any]]


def new_arrays() -> Arrays:
    """The gate before the first row: `counter` int64, `counts` int64 (BINS,) of fused scores, `ring` bool."""
    counter = np.zeros(5, np.int64)
    counter[THRESHOLD] = BINS
    return {"counter": counter, "counts": np.zeros(BINS, np.int64), "ring": np.zeros(RING_ROWS, np.bool_)}


def pass_through(
    gate: Arrays, bins: NDArray[np.int64], late: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which rows are learned, (n,): not late, and not held back; and which belong to a burst, (n,).

    `bins` int64 (n,) of fused scores.
    """
    taken, burst = np.empty(len(bins), np.bool_), np.empty(len(bins), np.bool_)
    gate_kernel(bins, late, gate["counter"], gate["counts"], gate["ring"], taken, burst)
    return taken, burst


@kernel
def gate_kernel(bins, late, counter, counts, ring, taken, burst):
    """Row by row; `taken`, `burst` bool (n,)."""
    for i in range(len(bins)):
        taken[i] = burst[i] = False
        if late[i]:
            continue
        exceeds = bins[i] > counter[THRESHOLD]
        place = counter[PLACE]
        counter[EXCEEDING] += np.int64(exceeds) - np.int64(ring[place])
        ring[place] = exceeds
        counter[PLACE] = (place + 1) % RING_ROWS
        counts[bins[i]] += 1
        counter[COUNTED] += 1
        taken[i] = not exceeds or 2 * counter[EXCEEDING] > RING_ROWS
        if not taken[i]:
            counter[HELD] += 1
            burst[i] = counter[EXCEEDING] > BURST_ROWS


@kernel
def turn_kernel(counter, counts):
    """At a pivot: the quantile anew, the lowest bin with at most SHARE of the rows above it."""
    total = counter[COUNTED]
    if total < COUNTED_MIN:
        return
    above = 0
    place = BINS - 1
    while place > 0 and above + counts[place] <= SHARE * total:
        above += counts[place]
        place -= 1
    counter[THRESHOLD] = place
    if total >= MEMORY_ROWS:
        counter[COUNTED] = 0
        for b in range(BINS):
            counts[b] >>= 1
            counter[COUNTED] += counts[b]
