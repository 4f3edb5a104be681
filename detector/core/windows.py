"""Sliding windows over an entity's chain of entries: read them, append to them, merge what has aged.

The newest chunk comes first and may be partly filled, the others are full; inside a chunk entries are in order of
arrival. Arrival is event-time order give or take the allowed lateness, so entries are compared by time and never assumed
sorted.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from detector.core.entities import (
    AMOUNT,
    CHUNK,
    CHUNKS,
    ENTRY_ROWS_MAX,
    FREE_CHUNK,
    FREE_COUNT,
    GRID,
    HEAD,
    LARGEST,
    LENGTH,
    LIMIT,
    OLDER,
    PACKED,
    ROWS_UNIT,
    SQUARE,
    free_chunks_kernel,
)

# columns of `total` (windows, 4), and of `scratch` (entries, 5) after the second
T_ROWS, T_AMOUNT, T_SQUARE, T_LARGEST = range(4)
LIMIT_MAX = 1 << 20


@njit(cache=True, nogil=True)
def head_used_kernel(length):
    """Filled entries of the newest chunk."""
    return (length - 1) % CHUNK + 1 if length > 0 else 0


@njit(cache=True, nogil=True)
def gather_kernel(chain, chunk, slot, now_s, window_s, lateness_s, total):
    """Sum the entries of `slot` into `total` for the windows (now − W, now], W ascending in `window_s`.

    Entries after `now_s` belong to the future of a row that came out of order, and are left out.
    """
    windows = len(window_s)
    longest = window_s[windows - 1] + lateness_s
    width = chunk.shape[1] // CHUNK
    for w in range(windows):
        for column in range(4):
            total[w, column] = 0.0
    here = np.int64(chain[slot, HEAD])
    used = head_used_kernel(chain[slot, LENGTH])
    w = 0
    age = np.int64(0)
    while here >= 0:
        for position in range(used - 1, -1, -1):
            entry = 1 + position * width
            rows = np.floor(chunk[here, entry + PACKED] / ROWS_UNIT)
            age = now_s - np.int64(chunk[here, entry + PACKED] - rows * ROWS_UNIT)
            if age < 0:
                continue
            while w > 0 and age < window_s[w - 1]:
                w -= 1
            while w < windows and age >= window_s[w]:
                w += 1
            if w < windows:
                total[w, T_ROWS] += rows
                total[w, T_AMOUNT] += chunk[here, entry + AMOUNT]
                if width == 4:
                    total[w, T_SQUARE] += chunk[here, entry + SQUARE]
                    total[w, T_LARGEST] = max(total[w, T_LARGEST], chunk[here, entry + LARGEST])
            elif age >= longest:
                break
        if w == windows and age >= longest:
            break
        here = np.int64(chunk[here, OLDER])
        used = CHUNK
    for w in range(1, windows):
        total[w, T_ROWS] += total[w - 1, T_ROWS]
        total[w, T_AMOUNT] += total[w - 1, T_AMOUNT]
        total[w, T_SQUARE] += total[w - 1, T_SQUARE]
        total[w, T_LARGEST] = max(total[w, T_LARGEST], total[w - 1, T_LARGEST])


@njit(cache=True, nogil=True)
def append_kernel(counter, chain, chunk, slot, now_s, amount, window_s, lateness_s, scratch):
    """Add a row: into the newest entry when both share the finest cell, else as an entry of its own."""
    width = chunk.shape[1] // CHUNK
    here = np.int64(chain[slot, HEAD])
    used = head_used_kernel(chain[slot, LENGTH])
    cell = max(1, window_s[0] // GRID)
    rows = 0.0
    second = np.int64(-1)
    if used > 0:
        packed = chunk[here, 1 + (used - 1) * width + PACKED]
        rows = np.floor(packed / ROWS_UNIT)
        second = np.int64(packed - rows * ROWS_UNIT)
    if second < 0 or second // cell != now_s // cell or rows >= ENTRY_ROWS_MAX:
        if used == CHUNK and chain[slot, LENGTH] >= chain[slot, LIMIT]:
            compact_kernel(counter, chain, chunk, slot, now_s, window_s, lateness_s, scratch)
            here = np.int64(chain[slot, HEAD])
            used = head_used_kernel(chain[slot, LENGTH])
        if used == 0 or used == CHUNK:
            fresh = take_chunk_kernel(counter, chunk)
            chunk[fresh, OLDER] = here
            chain[slot, HEAD] = fresh
            here = fresh
            used = 0
        chain[slot, LENGTH] += 1
        second = now_s
        rows = 0.0
        used += 1
    entry = 1 + (used - 1) * width
    chunk[here, entry + PACKED] = (rows + 1.0) * ROWS_UNIT + max(second, now_s)
    if not np.isnan(amount):  # a row without an amount counts, and adds nothing to the sums
        chunk[here, entry + AMOUNT] += amount
        if width == 4:
            chunk[here, entry + SQUARE] += amount * amount
            chunk[here, entry + LARGEST] = max(chunk[here, entry + LARGEST], amount)


@njit(cache=True, nogil=True)
def take_chunk_kernel(counter, chunk):
    """A chunk from the free list, or the next fresh one; `room_kernel` has made sure that there is one."""
    taken = counter[FREE_CHUNK]
    if taken >= 0:
        counter[FREE_CHUNK] = np.int64(chunk[taken, OLDER])
        counter[FREE_COUNT] -= 1
    else:
        taken = counter[CHUNKS]
        counter[CHUNKS] += 1
    # unused entries are saved with the rest: they must not hold what was there before
    for column in range(1, chunk.shape[1]):
        chunk[taken, column] = 0.0
    return taken


@njit(cache=True, nogil=True)
def cell_kernel(time_s, age_s, window_s):
    """The cell that an entry may share: 1/24 of the smallest window that it has yet to leave; -1 when it left all."""
    for w in range(len(window_s)):
        if age_s < window_s[w]:
            return w * 4_294_967_296 + time_s // max(1, window_s[w] // GRID)
    return -1


@njit(cache=True, nogil=True)
def compact_kernel(counter, chain, chunk, slot, now_s, window_s, lateness_s, scratch):
    """Drop the entries that every row to come will find too old; merge neighbours that share a cell."""
    width = chunk.shape[1] // CHUNK
    kept = 0
    last_cell = -2
    here = np.int64(chain[slot, HEAD])
    used = head_used_kernel(chain[slot, LENGTH])
    while here >= 0:
        for position in range(used - 1, -1, -1):
            entry = 1 + position * width
            rows = np.floor(chunk[here, entry + PACKED] / ROWS_UNIT)
            time_s = np.int64(chunk[here, entry + PACKED] - rows * ROWS_UNIT)
            age = now_s - time_s
            if age >= window_s[len(window_s) - 1] + lateness_s:
                continue
            # a row may still come that is `lateness_s` earlier: keep the cells of that younger age
            cell = cell_kernel(time_s, max(0, age - lateness_s), window_s)
            fits = cell >= 0 and cell == last_cell and kept > 0 and scratch[kept - 1, 1] + rows <= ENTRY_ROWS_MAX
            if not fits and kept < len(scratch):
                for column in range(5):
                    scratch[kept, column] = 0.0
                kept += 1
            last_cell = cell
            row = kept - 1
            scratch[row, 0] = max(scratch[row, 0], time_s)
            scratch[row, 1] = min(scratch[row, 1] + rows, ENTRY_ROWS_MAX)
            scratch[row, 2] += chunk[here, entry + AMOUNT]
            if width == 4:
                scratch[row, 3] += chunk[here, entry + SQUARE]
                scratch[row, 4] = max(scratch[row, 4], chunk[here, entry + LARGEST])
        here = np.int64(chunk[here, OLDER])
        used = CHUNK
    write_back_kernel(counter, chain, chunk, slot, scratch, kept)
    chain[slot, LIMIT] = min(LIMIT_MAX, kept + max(4 * CHUNK, kept // 4))


@njit(cache=True, nogil=True)
def write_back_kernel(counter, chain, chunk, slot, scratch, kept):
    """Lay the kept entries, newest first in `scratch`, over the chain again; free the chunks left over."""
    width = chunk.shape[1] // CHUNK
    here = np.int64(chain[slot, HEAD])
    previous = np.int64(-1)
    used = head_used_kernel(kept)
    row = 0
    while row < kept:
        for column in range(1, chunk.shape[1]):
            chunk[here, column] = 0.0
        for position in range(used - 1, -1, -1):
            entry = 1 + position * width
            chunk[here, entry + PACKED] = scratch[row, 1] * ROWS_UNIT + scratch[row, 0]
            for column in range(1, width):
                chunk[here, entry + column] = scratch[row, 1 + column]
            row += 1
        previous = here
        here = np.int64(chunk[here, OLDER])
        used = CHUNK
    if previous >= 0:
        chunk[previous, OLDER] = -1.0
    else:
        chain[slot, HEAD] = -1
    chain[slot, LENGTH] = kept
    free_chunks_kernel(counter, chunk, here)


def scratch_entries(window_s: NDArray[np.int64], lateness_s: int) -> int:
    """Rows of `scratch` that suffice: the cells of each window, those of the lateness, and what came since the last merge.

    At most 4,096: beyond, the oldest entries share one.
    """
    cells = len(window_s) * (GRID + 2) + lateness_s // max(1, int(window_s[0]) // GRID)
    return min(4_096, 2 * cells + 64)
