"""The learning gate: what scores above all but one in a hundred is not learned, so that no burst becomes normal.

A window that learns an attack of a thousand rows takes the attack for usual before it is over. So a row whose fused
score exceeds the 99 % quantile of a long past is scored and decided, not learned. A stream that has really changed
would be locked out for ever: when more than half of the last rows exceed the quantile, the gate opens by itself, until
they no longer do.

A row belongs to a *burst* where it exceeds the quantile, and of the last RING_ROWS rows three times as many exceed it
as should, and twice as many as lately. No scale counts such rows, neither this quantile, nor those of the members'
scores, nor that of the risk: an attack would raise what is usual, and hide the next one. A stream that drifts exceeds
its past ever more often, but not all at once; and what lasts is no burst, but a change. What the scales counted before
a change and while it was learned says little of the rows after it: they then remember a quarter of what came since.
Where most of the stream has changed, and for good, so does the sample that models are built from, and these calibrate
as often as in a young stream.

Row *j* sees what row *i* < *j* did to the gate, and the quantile moves at pivots only (law: cut invariance).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core.fusion import BINS
from detector.core.jit import inlined, kernel

SHARE = 0.01
RING_ROWS = 2_000
BURST_TIMES, LATELY_TIMES = 3.0, 2.0
LATELY_ROWS = 1 << 13  # over about so many rows the share that exceeds is averaged; what lasts longer is no burst ...
OPEN_ROWS = 2 * RING_ROWS  # ... nor is what lasts longer than so many where the gate is open
MEMORY_ROWS = 1 << 18  # counts halve here: the quantile's horizon is some 200,000 rows
COUNTED_MIN = 1_000  # before so many rows the gate is open
SINCE_CHANGE = 4  # one in so many rows since a change is remembered: the first, scored by models that learn, soon fade
UNCHANGED_ROWS = SINCE_CHANGE << 20  # since the stream last changed, where it never has: more than any scale remembers

COUNTED, THRESHOLD, PLACE, EXCEEDING, HELD, CROWDED, SINCE, RENEWED, RESTART = range(9)  # positions in `counter`
COUNTERS = 9

Arrays = dict[str, NDArray[Any]]


def new_arrays() -> Arrays:
    """The gate before the first row: `counter` int64, `counts` int64 (BINS,) of fused scores, `ring` bool, and
    `lately` float64 (1,), the share of rows that exceeded.
    """
    counter = np.zeros(COUNTERS, np.int64)
    counter[THRESHOLD], counter[SINCE], counter[RENEWED] = BINS, UNCHANGED_ROWS, UNCHANGED_ROWS
    ring, lately = np.zeros(RING_ROWS, np.bool_), np.full(1, SHARE)
    return {"counter": counter, "counts": np.zeros(BINS, np.int64), "ring": ring, "lately": lately}


@dataclass(frozen=True, slots=True)
class Passed:
    """What the gate says of n rows: `taken` (n,), to be learned; `burst` (n,), to be left out of every scale;
    `memory_rows` int64 (n,), the most rows that a scale may remember by then, and `sample_rows` that the sample may.
    """

    taken: NDArray[np.bool_]
    burst: NDArray[np.bool_]
    memory_rows: NDArray[np.int64]
    sample_rows: NDArray[np.int64]


def pass_through(gate: Arrays, bins: NDArray[np.int64], late: NDArray[np.bool_]) -> Passed:
    """Of rows with fused scores in `bins` int64 (n,): taken are those that are neither late nor held back."""
    rows = len(bins)
    flags, counts = np.empty((2, rows), np.bool_), np.empty((2, rows), np.int64)
    passed = Passed(*flags, *counts)
    arrays = (gate["counter"], gate["counts"], gate["ring"], gate["lately"])
    gate_kernel(bins, late, *arrays, passed.taken, passed.burst, passed.memory_rows, passed.sample_rows)
    return passed


@inlined
def memory_rows_kernel(counter):
    """The most rows that a scale may remember: a quarter of those since the stream last changed."""
    return max(LATELY_ROWS, counter[SINCE] // SINCE_CHANGE)


@kernel
def gate_kernel(bins, late, counter, counts, ring, lately, taken, burst, memory_rows, sample_rows):
    """Row by row; `taken`, `burst` bool (n,), `memory_rows`, `sample_rows` int64 (n,)."""
    for i in range(len(bins)):
        taken[i] = burst[i] = False
        memory_rows[i] = memory_rows_kernel(counter)
        sample_rows[i] = counter[RENEWED] // SINCE_CHANGE
        if late[i]:
            continue
        exceeds = bins[i] > counter[THRESHOLD]
        place = counter[PLACE]
        counter[EXCEEDING] += np.int64(exceeds) - np.int64(ring[place])
        ring[place] = exceeds
        counter[PLACE] = (place + 1) % RING_ROWS
        crowded = counter[EXCEEDING] > max(BURST_TIMES * SHARE, LATELY_TIMES * lately[0]) * RING_ROWS
        counter[CROWDED] = counter[CROWDED] + 1 if crowded else 0
        open_ = 2 * counter[EXCEEDING] > RING_ROWS
        lasting = counter[CROWDED] > (OPEN_ROWS if open_ else LATELY_ROWS)
        sudden = crowded and not lasting
        counter[SINCE] = 0 if lasting else counter[SINCE] + 1
        memory_rows[i] = memory_rows_kernel(counter)
        if lasting and open_:
            counter[RENEWED], counter[RESTART] = 0, 1
        else:
            counter[RENEWED] += 1
        sample_rows[i] = counter[RENEWED] // SINCE_CHANGE
        taken[i] = not exceeds or open_
        burst[i] = exceeds and sudden
        counter[HELD] += not taken[i]
        if not burst[i]:
            counts[bins[i]] += 1
            counter[COUNTED] += 1
        if not sudden:
            lately[0] += (np.int64(exceeds) - lately[0]) / LATELY_ROWS


@kernel
def turn_kernel(counter, counts):
    """At a pivot: the quantile anew, the lowest bin with at most SHARE of the rows above it."""
    counter[RESTART] = 0
    total = counter[COUNTED]
    if total < COUNTED_MIN:
        return
    above = 0
    place = BINS - 1
    while place > 0 and above + counts[place] <= SHARE * total:
        above += counts[place]
        place -= 1
    counter[THRESHOLD] = place
    if total >= min(MEMORY_ROWS, memory_rows_kernel(counter)):
        counter[COUNTED] = 0
        for b in range(BINS):
            counts[b] >>= 1
            counter[COUNTED] += counts[b]
