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
    FREE_CHUNK,
    FREE_COUNT,
    GRID,
    HEAD,
    LARGEST,
    LENGTH,
    LIMIT,
    ROWS,
    SECOND,
    SQUARE,
    free_chunks_kernel,
)

# columns of `total` (windows, 4) and, with the second in front, of `scratch` (entries, 5)
T_ROWS, T_AMOUNT, T_SQUARE, T_LARGEST = range(4)
LIMIT_MAX = 1 << 20


@njit(cache=True, nogil=True)
def head_used_kernel(length):
    """Filled entries of the newest chunk."""
    return (length - 1) % CHUNK + 1 if length > 0 else 0


@njit(cache=True, nogil=True)
def gather_kernel(chain, older, whole, sums, slot, now_s, window_s, lateness_s, total):
    """Sum the entries of `slot` into `total` for the windows (now − W, now], W ascending in `window_s`.

    Entries after `now_s` belong to the future of a row that came out of order, and are left out.
    """
    windows = len(window_s)
    longest = window_s[windows - 1] + lateness_s
    detailed = sums.shape[2] == 3
    for w in range(windows):
        for column in range(4):
            total[w, column] = 0.0
    chunk = np.int64(chain[slot, HEAD])
    used = head_used_kernel(chain[slot, LENGTH])
    w = 0
    while chunk >= 0:
        for position in range(used - 1, -1, -1):
            age = now_s - np.int64(whole[chunk, position, SECOND])
            if age < 0:
                continue
            while w > 0 and age < window_s[w - 1]:
                w -= 1
            while w < windows and age >= window_s[w]:
                w += 1
            if w < windows:
                total[w, T_ROWS] += whole[chunk, position, ROWS]
                total[w, T_AMOUNT] += sums[chunk, position, AMOUNT]
                if detailed:
                    total[w, T_SQUARE] += sums[chunk, position, SQUARE]
                    total[w, T_LARGEST] = max(total[w, T_LARGEST], sums[chunk, position, LARGEST])
            elif age >= longest:
                break
        if w == windows and age >= longest:
            break
        chunk = np.int64(older[chunk])
        used = CHUNK
    for w in range(1, windows):
        total[w, T_ROWS] += total[w - 1, T_ROWS]
        total[w, T_AMOUNT] += total[w - 1, T_AMOUNT]
        total[w, T_SQUARE] += total[w - 1, T_SQUARE]
        total[w, T_LARGEST] = max(total[w, T_LARGEST], total[w - 1, T_LARGEST])


@njit(cache=True, nogil=True)
def append_kernel(counter, chain, older, whole, sums, slot, now_s, amount, window_s, lateness_s, scratch):
    """Add a row: into the newest entry when both share the finest cell, else as an entry of its own."""
    chunk = np.int64(chain[slot, HEAD])
    used = head_used_kernel(chain[slot, LENGTH])
    cell = max(1, window_s[0] // GRID)
    if used == 0 or np.int64(whole[chunk, used - 1, SECOND]) // cell != now_s // cell:
        if used == CHUNK and chain[slot, LENGTH] >= chain[slot, LIMIT]:
            compact_kernel(counter, chain, older, whole, sums, slot, now_s, window_s, lateness_s, scratch)
            chunk = np.int64(chain[slot, HEAD])
            used = head_used_kernel(chain[slot, LENGTH])
        if used == 0 or used == CHUNK:
            fresh = take_chunk_kernel(counter, older, whole, sums)
            older[fresh] = chunk
            chain[slot, HEAD] = fresh
            chunk = fresh
            used = 0
        chain[slot, LENGTH] += 1
        whole[chunk, used, SECOND] = now_s
        used += 1
    position = used - 1
    whole[chunk, position, SECOND] = max(np.int64(whole[chunk, position, SECOND]), now_s)
    whole[chunk, position, ROWS] += np.uint32(1)
    if not np.isnan(amount):  # a row without an amount counts, and adds nothing to the sums
        sums[chunk, position, AMOUNT] += amount
        if sums.shape[2] == 3:
            sums[chunk, position, SQUARE] += amount * amount
            sums[chunk, position, LARGEST] = max(sums[chunk, position, LARGEST], amount)


@njit(cache=True, nogil=True)
def take_chunk_kernel(counter, older, whole, sums):
    """A chunk from the free list, or the next fresh one; `room_kernel` has made sure that there is one."""
    chunk = counter[FREE_CHUNK]
    if chunk >= 0:
        counter[FREE_CHUNK] = older[chunk]
        counter[FREE_COUNT] -= 1
    else:
        chunk = counter[CHUNKS]
        counter[CHUNKS] += 1
    clear_kernel(whole, sums, chunk, 0)
    return chunk


@njit(cache=True, nogil=True)
def clear_kernel(whole, sums, chunk, first):
    """Zero a chunk from entry `first` on: unused entries are saved with the rest, and add nothing when read."""
    for position in range(first, CHUNK):
        whole[chunk, position, SECOND] = 0
        whole[chunk, position, ROWS] = 0
        for column in range(sums.shape[2]):
            sums[chunk, position, column] = 0.0


@njit(cache=True, nogil=True)
def cell_kernel(time_s, age_s, window_s):
    """The cell that an entry may share: 1/24 of the smallest window that it has yet to leave; -1 when it left all."""
    for w in range(len(window_s)):
        if age_s < window_s[w]:
            return w * 4_294_967_296 + time_s // max(1, window_s[w] // GRID)
    return -1


@njit(cache=True, nogil=True)
def compact_kernel(counter, chain, older, whole, sums, slot, now_s, window_s, lateness_s, scratch):
    """Drop the entries that every row to come will find too old; merge neighbours that share a cell."""
    kept = 0
    last_cell = -2
    chunk = np.int64(chain[slot, HEAD])
    used = head_used_kernel(chain[slot, LENGTH])
    while chunk >= 0:
        for position in range(used - 1, -1, -1):
            time_s = np.int64(whole[chunk, position, SECOND])
            age = now_s - time_s
            if age >= window_s[len(window_s) - 1] + lateness_s:
                continue
            # a row may still come that is `lateness_s` earlier: keep the cells of that younger age
            cell = cell_kernel(time_s, max(0, age - lateness_s), window_s)
            if (cell < 0 or cell != last_cell or kept == 0) and kept < len(scratch):
                for column in range(5):
                    scratch[kept, column] = 0.0
                kept += 1
            last_cell = cell
            row = kept - 1
            scratch[row, 0] = max(scratch[row, 0], time_s)
            scratch[row, 1] += whole[chunk, position, ROWS]
            scratch[row, 2] += sums[chunk, position, AMOUNT]
            if sums.shape[2] == 3:
                scratch[row, 3] += sums[chunk, position, SQUARE]
                scratch[row, 4] = max(scratch[row, 4], sums[chunk, position, LARGEST])
        chunk = np.int64(older[chunk])
        used = CHUNK
    write_back_kernel(counter, chain, older, whole, sums, slot, scratch, kept)
    chain[slot, LIMIT] = min(LIMIT_MAX, kept + max(4 * CHUNK, kept // 4))


@njit(cache=True, nogil=True)
def write_back_kernel(counter, chain, older, whole, sums, slot, scratch, kept):
    """Lay the kept entries, newest first in `scratch`, over the chain again; free the chunks left over."""
    chunk = np.int64(chain[slot, HEAD])
    previous = np.int64(-1)
    used = head_used_kernel(kept)
    entry = 0
    while entry < kept:
        for position in range(used - 1, -1, -1):
            whole[chunk, position, SECOND] = np.int64(scratch[entry, 0])
            whole[chunk, position, ROWS] = np.int64(scratch[entry, 1])
            for column in range(sums.shape[2]):
                sums[chunk, position, column] = scratch[entry, 2 + column]
            entry += 1
        clear_kernel(whole, sums, chunk, used)
        previous = chunk
        chunk = np.int64(older[chunk])
        used = CHUNK
    if previous >= 0:
        older[previous] = -1
    else:
        chain[slot, HEAD] = -1
    chain[slot, LENGTH] = kept
    free_chunks_kernel(counter, older, chunk)


def scratch_entries(window_s: NDArray[np.int64], lateness_s: int) -> int:
    """Rows of `scratch` that suffice: the cells of each window, those of the lateness, and what came since the last merge.

    At most 4,096: beyond, the oldest entries share one.
    """
    cells = len(window_s) * (GRID + 2) + lateness_s // max(1, int(window_s[0]) // GRID)
    return min(4_096, 2 * cells + 64)
