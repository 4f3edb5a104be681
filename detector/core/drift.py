"""Drift of the input: for each feature that a model looks at, how far the last day's values lie from the week before.

The population stability index (Siddiqi, *Credit Risk Scorecards*, 2006) of two integer histograms on the grid of the
feature profile: Σ (q − p) · ln(q / p) over the deciles of the earlier one, with one more group for missing values, so
that a field which is no longer sent shows as well. By custom 0.1 is a small move and 0.25 a large one.

A window is an event-time day, longer where a day holds too few rows to tell: parts of a day differ from one another
every day. It is closed at a pivot, where a segment ends, so the index does not depend on where a batch was cut (law:
cut invariance). What came before is remembered with six sevenths of its weight a window. Nothing is decided by it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core.jit import kernel
from detector.core.profile import BINS, bin_kernel

MISSING = BINS  # the last column
ALL_UNTIL_ROWS = 4_096  # every row of a window is counted up to here, then ...
ONE_IN = 8
WINDOW_ROWS_MIN = 1_000  # counted: an index of equal days then stays near 0.01
MEMORY_WINDOWS = 7
GROUPS = 10

# positions in `counter` int64: rows seen in the window, rows counted in it, the same of the memory, its last day
SEEN, COUNTED, REMEMBERED, DAY = range(4)

Arrays = dict[str, NDArray[Any]]


def new_arrays(features: int) -> Arrays:
    """Before the first row. `latest`, `earlier` int64 (features, BINS + 1); `index` float64 (features,), NaN yet."""
    counter = np.zeros(4, np.int64)
    counter[DAY] = -1
    return {
        "counter": counter,
        "latest": np.zeros((features, BINS + 1), np.int64),
        "earlier": np.zeros((features, BINS + 1), np.int64),
        "index": np.full(features, np.nan),
    }


def learn(arrays: Arrays, bits: NDArray[np.int32], late: NDArray[np.bool_]) -> None:
    """Count rows, given by the bits (n, features) of their values, into the window; late ones are left out."""
    learn_kernel(bits, late, arrays["counter"], arrays["latest"])


def turn(arrays: Arrays, day: int) -> None:
    """At a pivot in event-time day `day`: close the window where a day has ended and rows enough are in it."""
    counter = arrays["counter"]
    if counter[DAY] < 0:
        counter[DAY] = day
    if day <= counter[DAY] or counter[COUNTED] < WINDOW_ROWS_MIN:
        return
    if counter[REMEMBERED] > 0:
        index_kernel(arrays["earlier"], arrays["latest"], arrays["index"])
    arrays["earlier"] -= arrays["earlier"] // MEMORY_WINDOWS
    arrays["earlier"] += arrays["latest"]
    arrays["latest"][:] = 0
    counter[REMEMBERED] += counter[COUNTED]
    counter[[SEEN, COUNTED]] = 0
    counter[DAY] = day


@kernel
def learn_kernel(bits, late, counter, latest):
    """Count rows into `latest`."""
    for i in range(len(bits)):
        if late[i]:
            continue
        row = counter[SEEN]
        counter[SEEN] = row + 1
        if row >= ALL_UNTIL_ROWS and row % ONE_IN != 0:
            continue
        counter[COUNTED] += 1
        for f in range(bits.shape[1]):
            position = bin_kernel(bits[i, f])
            latest[f, position if position >= 0 else MISSING] += 1


@kernel
def index_kernel(earlier, latest, index):
    """Fill `index` (features,) with the stability index of each row of two histograms (features, BINS + 1)."""
    for f in range(len(earlier)):
        before = 0
        now = 0
        for position in range(BINS + 1):
            before += earlier[f, position]
            now += latest[f, position]
        known = before - earlier[f, MISSING]
        index[f] = part_kernel(earlier[f, MISSING], latest[f, MISSING], before, now)
        group = 1
        seen = 0
        in_before = 0
        in_now = 0
        for position in range(BINS):
            alone = earlier[f, position] * GROUPS >= known > 0  # a value that many rows share is a group by itself
            if alone and in_before + in_now > 0:
                index[f] += part_kernel(in_before, in_now, before, now)
                in_before = 0
                in_now = 0
            seen += earlier[f, position]
            in_before += earlier[f, position]
            in_now += latest[f, position]
            if alone or (seen * GROUPS >= group * known and seen < known):
                index[f] += part_kernel(in_before, in_now, before, now)
                in_before = 0
                in_now = 0
                group = seen * GROUPS // max(known, 1) + 1
        index[f] += part_kernel(in_before, in_now, before, now)


@kernel
def part_kernel(before, now, rows_before, rows_now):
    """What one group adds; half a row is added to either count, so that an empty group says much and not infinity."""
    p = (before + 0.5) / (rows_before + 0.5)
    q = (now + 0.5) / (rows_now + 0.5)
    return (q - p) * np.log(q / p)
