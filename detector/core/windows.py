"""Sliding windows over an entity's chain of entries: read them, append to them, merge what has aged.

The newest chunk comes first and may be partly filled, the others are full; inside a chunk entries are in order of
arrival. Arrival is event-time order give or take the allowed lateness, so entries are compared by time and never
assumed sorted.
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
    OLDER,
    ROWS,
    SECOND,
    SQUARE,
    free_chunks_kernel,
    older_kernel,
)

# columns of `total` (windows, 4), and of `scratch` (entries, 5) after the second
T_ROWS, T_AMOUNT, T_SQUARE, T_LARGEST = range(4)
LIMIT_MAX = 1 << 20


@njit(cache=True, nogil=True)
def head_used_kernel(length):
    """Filled entries of the newest chunk."""
    return (length - 1) % CHUNK + 1 if length > 0 else 0


@njit(cache=True, nogil=True)
def gather_kernel(chain, whole, sums, slot, now_s, window_s, lateness_s, total):
    """Sum the entries of `slot` into `total` for the windows (now − W, now], W ascending in `window_s`.

    Runs down the chain with one running sum, which is what a window holds when its edge is passed. An entry that came
    out of order, younger than an edge already passed, is added to the windows behind that edge too; one after `now_s`
    belongs to the future of a row that itself came out of order, and is left out.
    """
    windows = len(window_s)
    longest = window_s[windows - 1] + lateness_s
    width = sums.shape[1] // CHUNK
    rows, amount, square, largest = 0.0, 0.0, 0.0, 0.0
    chunk = np.int64(chain[slot, HEAD])
    used = head_used_kernel(np.int64(chain[slot, LENGTH]))
    w = 0
    age = np.int64(0)
    while chunk >= 0 and age < longest:
        for position in range(used - 1, -1, -1):
            age = now_s - np.int64(whole[chunk, 2 * position + SECOND])
            if age < 0:
                continue
            while w < windows and age >= window_s[w]:
                total[w, T_ROWS], total[w, T_AMOUNT], total[w, T_SQUARE], total[w, T_LARGEST] = (
                    rows,
                    amount,
                    square,
                    largest,
                )
                w += 1
            if age >= window_s[windows - 1]:
                continue
            entry_rows = np.float64(whole[chunk, 2 * position + ROWS])
            entry_amount = sums[chunk, width * position + AMOUNT]
            rows += entry_rows
            amount += entry_amount
            entry_square = 0.0
            entry_largest = 0.0
            if width == 3:
                entry_square = sums[chunk, 3 * position + SQUARE]
                entry_largest = sums[chunk, 3 * position + LARGEST]
                square += entry_square
                largest = max(largest, entry_largest)
            passed = w - 1
            while passed >= 0 and age < window_s[passed]:
                total[passed, T_ROWS] += entry_rows
                total[passed, T_AMOUNT] += entry_amount
                total[passed, T_SQUARE] += entry_square
                total[passed, T_LARGEST] = max(total[passed, T_LARGEST], entry_largest)
                passed -= 1
        chunk = older_kernel(whole, chunk)
        used = CHUNK
    while w < windows:
        total[w, T_ROWS], total[w, T_AMOUNT], total[w, T_SQUARE], total[w, T_LARGEST] = rows, amount, square, largest
        w += 1


@njit(cache=True, nogil=True)
def append_kernel(counter, chain, whole, sums, slot, now_s, amount, window_s, cell_per_s, lateness_s, scratch):
    """Add a row: into the newest entry when both share the finest cell, else as an entry of its own."""
    chunk = np.int64(chain[slot, HEAD])
    used = head_used_kernel(np.int64(chain[slot, LENGTH]))
    per_s = cell_per_s[0]
    if used == 0 or np.floor(whole[chunk, 2 * used - 2 + SECOND] * per_s) != np.floor(now_s * per_s):
        if used == CHUNK and chain[slot, LENGTH] >= chain[slot, LIMIT]:
            compact_kernel(counter, chain, whole, sums, slot, now_s, window_s, cell_per_s, lateness_s, scratch)
            chunk = np.int64(chain[slot, HEAD])
            used = head_used_kernel(np.int64(chain[slot, LENGTH]))
        if used == 0 or used == CHUNK:
            fresh = take_chunk_kernel(counter, whole, sums)
            whole[fresh, OLDER] = chunk + 1
            chain[slot, HEAD] = fresh
            chunk = fresh
            used = 0
        chain[slot, LENGTH] += 1
        used += 1
    position = used - 1
    if now_s > np.int64(whole[chunk, 2 * position + SECOND]):
        whole[chunk, 2 * position + SECOND] = now_s
    whole[chunk, 2 * position + ROWS] += np.uint32(1)
    if not np.isnan(amount):  # a row without an amount counts, and adds nothing to the sums
        first = sums.shape[1] // CHUNK * position
        sums[chunk, first + AMOUNT] += amount
        if sums.shape[1] == 3 * CHUNK:
            sums[chunk, first + SQUARE] += amount * amount
            sums[chunk, first + LARGEST] = max(sums[chunk, first + LARGEST], amount)


@njit(cache=True, nogil=True)
def take_chunk_kernel(counter, whole, sums):
    """A chunk from the free list, or the next fresh one; `room_kernel` has made sure that there is one."""
    taken = counter[FREE_CHUNK]
    if taken >= 0:
        counter[FREE_CHUNK] = older_kernel(whole, taken)
        counter[FREE_COUNT] -= 1
    else:
        taken = counter[CHUNKS]
        counter[CHUNKS] += 1
    clear_kernel(whole, sums, taken)
    for column in range(OLDER, whole.shape[1]):
        whole[taken, column] = 0
    return taken


@njit(cache=True, nogil=True)
def clear_kernel(whole, sums, chunk):
    """Zero a chunk's entries: unused ones are saved with the rest, and must not hold what was there before."""
    for column in range(OLDER):
        whole[chunk, column] = 0
    for column in range(sums.shape[1]):
        sums[chunk, column] = 0.0


@njit(cache=True, nogil=True)
def cell_kernel(time_s, age_s, window_s, cell_per_s):
    """The cell that an entry may share: 1/24 of the smallest window that it has yet to leave; -1 when it left all."""
    for w in range(len(window_s)):
        if age_s < window_s[w]:
            return np.floor(time_s * cell_per_s[w]) * 16.0 + w
    return -1.0


@njit(cache=True, nogil=True)
def compact_kernel(counter, chain, whole, sums, slot, now_s, window_s, cell_per_s, lateness_s, scratch):
    """Drop the entries that every row to come will find too old; merge neighbours that share a cell."""
    width = sums.shape[1] // CHUNK
    kept = 0
    last_cell = -2.0
    chunk = np.int64(chain[slot, HEAD])
    used = head_used_kernel(np.int64(chain[slot, LENGTH]))
    while chunk >= 0:
        for position in range(used - 1, -1, -1):
            time_s = np.int64(whole[chunk, 2 * position + SECOND])
            age = now_s - time_s
            if age >= window_s[len(window_s) - 1] + lateness_s:
                continue
            # a row may still come that is `lateness_s` earlier: keep the cells of that younger age
            cell = cell_kernel(time_s, max(0, age - lateness_s), window_s, cell_per_s)
            if (cell < 0.0 or cell != last_cell or kept == 0) and kept < len(scratch):
                for column in range(5):
                    scratch[kept, column] = 0.0
                kept += 1
            last_cell = cell
            row = kept - 1
            scratch[row, 0] = max(scratch[row, 0], time_s)
            scratch[row, 1] += whole[chunk, 2 * position + ROWS]
            scratch[row, 2] += sums[chunk, width * position + AMOUNT]
            if width == 3:
                scratch[row, 3] += sums[chunk, 3 * position + SQUARE]
                scratch[row, 4] = max(scratch[row, 4], sums[chunk, 3 * position + LARGEST])
        chunk = older_kernel(whole, chunk)
        used = CHUNK
    write_back_kernel(counter, chain, whole, sums, slot, scratch, kept)
    chain[slot, LIMIT] = min(LIMIT_MAX, kept + max(4 * CHUNK, kept // 2))


@njit(cache=True, nogil=True)
def write_back_kernel(counter, chain, whole, sums, slot, scratch, kept):
    """Lay the kept entries, newest first in `scratch`, over the chain again; free the chunks left over."""
    width = sums.shape[1] // CHUNK
    chunk = np.int64(chain[slot, HEAD])
    previous = np.int64(-1)
    used = head_used_kernel(kept)
    row = 0
    while row < kept:
        clear_kernel(whole, sums, chunk)
        for position in range(used - 1, -1, -1):
            whole[chunk, 2 * position + SECOND] = np.int64(scratch[row, 0])
            whole[chunk, 2 * position + ROWS] = np.int64(scratch[row, 1])
            for column in range(width):
                sums[chunk, width * position + column] = scratch[row, 2 + column]
            row += 1
        previous = chunk
        chunk = older_kernel(whole, chunk)
        used = CHUNK
    if previous >= 0:
        whole[previous, OLDER] = 0
    else:
        chain[slot, HEAD] = -1
    chain[slot, LENGTH] = kept
    free_chunks_kernel(counter, whole, chunk)


def cells_per_second(window_s: NDArray[np.int64]) -> NDArray[np.float64]:
    """Cells a second of each window's grid: a product is a tenth of a division's time, and there is one an entry."""
    return 1.0 / np.maximum(1, window_s // GRID)


def scratch_entries(window_s: NDArray[np.int64], lateness_s: int) -> int:
    """Rows of `scratch` that suffice: cells of the windows, of the lateness, and what came since the last merge.

    At most 4,096: beyond, the oldest entries share one.
    """
    cells = len(window_s) * (GRID + 2) + lateness_s // max(1, int(window_s[0]) // GRID)
    return min(4_096, 2 * cells + 64)
