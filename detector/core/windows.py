"""Sliding windows over an entity's chain of entries: read them, append to them, merge what has aged.

The newest chunk comes first and may be partly filled, the others are full; inside a chunk entries are in order of
arrival. Arrival is event-time order give or take the allowed lateness, so entries are compared by time and never
assumed sorted.

An entry stands at its newest second. A row in event-time order therefore sees each window whole, and up to one cell of
it longer; a row that comes out of order misses what shares a cell with younger rows; and a late one finds the past as
it was merged for later rows, in cells of the longer windows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.core.entities import (
    CHUNK,
    CHUNKS,
    DETAIL,
    DETAILS,
    FILL,
    FREE_CHUNK,
    FREE_COUNT,
    GRID,
    HEAD,
    LARGEST,
    OLDER,
    ROWS,
    SECOND,
    SPREAD,
    UNPRICED,
    detail_kernel,
    fill_kernel,
    free_chunks_kernel,
    length_kernel,
    limit_kernel,
    older_kernel,
)
from detector.core.jit import inlined, kernel

# columns of `total` (windows, TOTALS); PRICED are the rows that had an amount
T_ROWS, T_PRICED, T_AMOUNT, T_SQUARES, T_LARGEST = range(5)
TOTALS = 5

# columns of `scratch` (entries, SCRATCH)
S_SECOND, S_ROWS, S_AMOUNT, S_SPREAD, S_LARGEST = range(5)
SCRATCH = 5

LATENESS_CELLS_MAX = 1_024


@inlined
def head_used_kernel(length):
    """Filled entries of the newest chunk."""
    return (length - 1) % CHUNK + 1 if length > 0 else 0


@inlined
def gather_kernel(chain, whole, sums, detail, slot, now_s, window_s, lateness_s, total):
    """Sum the entries of `slot` into `total` for the windows (now − W, now], W ascending in `window_s`.

    Runs down the chain with one running sum, which is what a window holds when its edge is passed. An entry that came
    out of order, younger than an edge already passed, is added to the windows behind that edge too; one after `now_s`
    belongs to the future of a row that itself came out of order, and is left out.
    """
    windows = len(window_s)
    longest = window_s[windows - 1] + lateness_s
    detailed = detail.shape[1] > 0
    rows, priced, amount, square, largest = 0.0, 0.0, 0.0, 0.0, 0.0
    chunk = np.int64(chain[slot, HEAD])
    used = head_used_kernel(length_kernel(chain, slot))
    w = 0
    age = np.int64(0)
    while chunk >= 0 and age < longest:
        told = detail_kernel(whole, detail, chunk)
        for position in range(used - 1, -1, -1):
            age = now_s - np.int64(whole[chunk, 2 * position + SECOND])
            if age < 0:
                continue
            while w < windows and age >= window_s[w]:
                total[w, T_ROWS], total[w, T_PRICED], total[w, T_AMOUNT] = rows, priced, amount
                total[w, T_SQUARES], total[w, T_LARGEST] = square, largest
                w += 1
            if age >= window_s[windows - 1]:
                continue
            packed = np.int64(whole[chunk, 2 * position + ROWS])
            entry_rows = np.float64(packed & ~UNPRICED)
            entry_priced = 0.0 if packed & UNPRICED else entry_rows
            entry_amount = sums[chunk, position]
            rows += entry_rows
            priced += entry_priced
            amount += entry_amount
            entry_square = 0.0
            entry_largest = 0.0
            if detailed:
                if entry_priced > 0.0:
                    entry_square = entry_amount * entry_amount / entry_priced
                if told >= 0:
                    entry_square += detail[told, 2 * position + SPREAD]
                    entry_largest = np.float64(detail[told, 2 * position + LARGEST])
                else:
                    entry_largest = np.float64(largest_kernel(entry_amount))
                square += entry_square
                largest = max(largest, entry_largest)
            passed = w - 1
            while passed >= 0 and age < window_s[passed]:
                total[passed, T_ROWS] += entry_rows
                total[passed, T_PRICED] += entry_priced
                total[passed, T_AMOUNT] += entry_amount
                total[passed, T_SQUARES] += entry_square
                total[passed, T_LARGEST] = max(total[passed, T_LARGEST], entry_largest)
                passed -= 1
        chunk = older_kernel(whole, chunk)
        used = CHUNK
    while w < windows:
        total[w, T_ROWS], total[w, T_PRICED], total[w, T_AMOUNT] = rows, priced, amount
        total[w, T_SQUARES], total[w, T_LARGEST] = square, largest
        w += 1


@inlined
def append_kernel(counter, chain, whole, sums, detail, slot, now_s, amount, window_s, cell_per_s, lateness_s, scratch):
    """Add a row: into the newest entry when both share the finest cell, else as an entry of its own."""
    chunk = np.int64(chain[slot, HEAD])
    used = head_used_kernel(length_kernel(chain, slot))
    unpriced = np.int64(UNPRICED if np.isnan(amount) else 0)
    if used == 0 or not joins_kernel(whole, chunk, used - 1, now_s, unpriced, cell_per_s[0]):
        if used == CHUNK and length_kernel(chain, slot) >= limit_kernel(chain, slot):
            compact_kernel(counter, chain, whole, sums, detail, slot, now_s, window_s, cell_per_s, lateness_s, scratch)
            chunk = np.int64(chain[slot, HEAD])
            used = head_used_kernel(length_kernel(chain, slot))
        if used == 0 or used == CHUNK:
            fresh = take_chunk_kernel(counter, whole, sums, detail)
            whole[fresh, OLDER] = chunk + 1
            chain[slot, HEAD] = fresh
            chunk = fresh
            used = 0
        chain[slot, FILL] += 1
        used += 1
        whole[chunk, 2 * used - 2 + ROWS] = unpriced
    position = used - 1
    if now_s > np.int64(whole[chunk, 2 * position + SECOND]):
        whole[chunk, 2 * position + SECOND] = now_s
    whole[chunk, 2 * position + ROWS] += np.uint32(1)
    if unpriced == 0:
        if detail.shape[1] > 0:
            before = np.float64(whole[chunk, 2 * position + ROWS]) - 1.0
            told = detail_kernel(whole, detail, chunk)
            if told < 0 and before > 0.0:
                told = take_detail_kernel(counter, whole, sums, detail, chunk)
            if told >= 0:
                apart = spread_kernel(before, sums[chunk, position], 1.0, amount)
                detail[told, 2 * position + SPREAD] += np.float32(apart)
                detail[told, 2 * position + LARGEST] = max(detail[told, 2 * position + LARGEST], np.float32(amount))
        sums[chunk, position] += amount


@inlined
def spread_kernel(rows, amount, more_rows, more_amount):
    """What two groups add to the sum of squared differences from their mean by standing apart (Chan et al., 1983)."""
    if rows == 0.0:
        return 0.0
    apart = more_amount / more_rows - amount / rows
    return apart * apart * rows * more_rows / (rows + more_rows)


@inlined
def joins_kernel(whole, chunk, position, now_s, unpriced, per_s):
    """Whether a row may share this entry: same cell, and either both have amounts or neither has."""
    if np.int64(whole[chunk, 2 * position + ROWS]) & UNPRICED != unpriced:
        return False
    return np.floor(whole[chunk, 2 * position + SECOND] * per_s) == np.floor(now_s * per_s)


@inlined
def take_chunk_kernel(counter, whole, sums, detail):
    """A chunk from the free list, or the next fresh one; `room_kernel` has made sure that there is one."""
    taken = counter[FREE_CHUNK]
    if taken >= 0:
        counter[FREE_CHUNK] = older_kernel(whole, taken)
        counter[FREE_COUNT] -= 1
    else:
        taken = counter[CHUNKS]
        counter[CHUNKS] += 1
    clear_kernel(whole, sums, detail, taken)
    whole[taken, OLDER] = 0
    return taken


@kernel
def take_detail_kernel(counter, whole, sums, detail, chunk):
    """A detail for a chunk whose entries had one row each; `room_kernel` has made sure that there is one."""
    taken = counter[DETAILS]
    counter[DETAILS] += 1
    whole[chunk, DETAIL] = taken + 1
    for position in range(CHUNK):
        detail[taken, 2 * position + SPREAD] = 0.0
        detail[taken, 2 * position + LARGEST] = largest_kernel(sums[chunk, position])
    return taken


@inlined
def largest_kernel(amount):
    """The largest amount of an entry of one row; none is less than 0."""
    return max(np.float32(0.0), np.float32(amount))


@inlined
def details_wanted_kernel(scratch, detail):
    """Details that one row may need: a merge may need one for every chunk of the chain, and the row one more."""
    return len(scratch) // CHUNK + 2 if detail.shape[1] > 0 else 0


@inlined
def clear_kernel(whole, sums, detail, chunk):
    """Zero a chunk's entries: unused ones are saved with the rest, and must not hold what was there before."""
    for column in range(OLDER):
        whole[chunk, column] = 0
    for column in range(CHUNK):
        sums[chunk, column] = 0.0
    told = detail_kernel(whole, detail, chunk)
    if told >= 0:
        for column in range(detail.shape[1]):
            detail[told, column] = 0.0


@inlined
def cell_kernel(time_s, age_s, window_s, cell_per_s):
    """The cell that an entry may share: one of the smallest window that it has yet to leave, told apart by window."""
    w = 0
    while w < len(window_s) - 1 and age_s >= window_s[w]:
        w += 1
    return np.floor(time_s * cell_per_s[w]) * len(window_s) + w


@kernel
def compact_kernel(counter, chain, whole, sums, detail, slot, now_s, window_s, cell_per_s, lateness_s, scratch):
    """Drop the entries that every row to come will find too old; merge those that share a cell.

    They are sorted first: what came out of order lies between others, and would keep neighbours apart without end.
    """
    found = collect_kernel(chain, whole, sums, detail, slot, now_s - window_s[len(window_s) - 1] - lateness_s, scratch)
    kept = 0
    last_cell = -1.0
    priced_entry = bare_entry = -1  # of this cell
    for row in range(found):
        # a row may still come that is `lateness_s` earlier: keep the cells of that younger age
        age = max(0.0, now_s - scratch[row, S_SECOND] - lateness_s)
        cell = cell_kernel(scratch[row, S_SECOND], age, window_s, cell_per_s)
        if cell != last_cell:
            priced_entry = bare_entry = -1
            last_cell = cell
        rows = np.int64(scratch[row, S_ROWS])
        bare = rows & UNPRICED != 0
        target = bare_entry if bare else priced_entry
        if target < 0:
            if bare:
                bare_entry = kept
            else:
                priced_entry = kept
            for column in range(SCRATCH):
                scratch[kept, column] = scratch[row, column]
            kept += 1
            continue
        if not bare:
            apart = spread_kernel(
                scratch[target, S_ROWS], scratch[target, S_AMOUNT], float(rows), scratch[row, S_AMOUNT]
            )
            scratch[target, S_SPREAD] += scratch[row, S_SPREAD] + apart
        scratch[target, S_ROWS] += rows & ~UNPRICED
        scratch[target, S_AMOUNT] += scratch[row, S_AMOUNT]
        scratch[target, S_LARGEST] = max(scratch[target, S_LARGEST], scratch[row, S_LARGEST])
    write_back_kernel(counter, chain, whole, sums, detail, slot, scratch, kept)
    fill_kernel(chain, slot, kept, min(len(scratch) - CHUNK, kept + max(4 * CHUNK, kept // 2)))


@kernel
def collect_kernel(chain, whole, sums, detail, slot, after_s, scratch):
    """The entries of `slot` after `after_s` into `scratch`, latest first; returns how many.

    Insertion sort: the chain is nearly in order.
    """
    found = 0
    chunk = np.int64(chain[slot, HEAD])
    used = head_used_kernel(length_kernel(chain, slot))
    while chunk >= 0:
        told = detail_kernel(whole, detail, chunk)
        for position in range(used - 1, -1, -1):
            time_s = np.int64(whole[chunk, 2 * position + SECOND])
            if time_s <= after_s:
                continue
            row = found
            while row > 0 and scratch[row - 1, S_SECOND] < time_s:
                for column in range(SCRATCH):
                    scratch[row, column] = scratch[row - 1, column]
                row -= 1
            scratch[row, S_SECOND] = time_s
            scratch[row, S_ROWS] = whole[chunk, 2 * position + ROWS]
            scratch[row, S_AMOUNT] = sums[chunk, position]
            scratch[row, S_SPREAD] = 0.0
            scratch[row, S_LARGEST] = largest_kernel(sums[chunk, position])
            if told >= 0:
                scratch[row, S_SPREAD] = detail[told, 2 * position + SPREAD]
                scratch[row, S_LARGEST] = detail[told, 2 * position + LARGEST]
            found += 1
        chunk = older_kernel(whole, chunk)
        used = CHUNK
    return found


@kernel
def write_back_kernel(counter, chain, whole, sums, detail, slot, scratch, kept):
    """Lay the kept entries, newest first in `scratch`, over the chain again; free the chunks left over."""
    chunk = np.int64(chain[slot, HEAD])
    previous = np.int64(-1)
    used = head_used_kernel(kept)
    row = 0
    while row < kept:
        clear_kernel(whole, sums, detail, chunk)
        told = detail_kernel(whole, detail, chunk)
        for position in range(used - 1, -1, -1):
            whole[chunk, 2 * position + SECOND] = np.int64(scratch[row, S_SECOND])
            whole[chunk, 2 * position + ROWS] = np.int64(scratch[row, S_ROWS])
            sums[chunk, position] = scratch[row, S_AMOUNT]
            if detail.shape[1] > 0 and told < 0 and 1.0 < scratch[row, S_ROWS] < UNPRICED:
                told = take_detail_kernel(counter, whole, sums, detail, chunk)
            if told >= 0:
                detail[told, 2 * position + SPREAD] = scratch[row, S_SPREAD]
                detail[told, 2 * position + LARGEST] = scratch[row, S_LARGEST]
            row += 1
        previous = chunk
        chunk = older_kernel(whole, chunk)
        used = CHUNK
    if previous >= 0:
        whole[previous, OLDER] = 0
    else:
        chain[slot, HEAD] = -1
    free_chunks_kernel(counter, whole, chunk)


def cells_per_second(window_s: NDArray[np.int64], lateness_s: int) -> NDArray[np.float64]:
    """Cells a second of each window's grid: a product is a tenth of a division's time, and there is one an entry.

    An entry that comes into a longer window's cell brings what it spans already, so each grid leaves room for the finer
    ones: 1/24 of what the window has beyond the next smaller one. All in all an entry spans 1/24 of the window that it
    is about to leave. A cell is no less than 1/1,024 of the allowed lateness, which bounds an entity's entries.
    """
    beyond_s = np.diff(window_s, prepend=0)
    per_s: NDArray[np.float64] = 1.0 / np.maximum(np.maximum(1, beyond_s // GRID), lateness_s // LATENESS_CELLS_MAX)
    return per_s


def scratch_entries(window_s: NDArray[np.int64], lateness_s: int) -> int:
    """Rows of `scratch` that hold any chain: as many as a merge may leave, and half of that again before the next.

    A merge leaves two entries a cell at most, those of the finest grid reaching a lateness further at either end.
    """
    per_s = cells_per_second(window_s, lateness_s)
    cells = (np.ceil(np.diff(window_s, prepend=0) * per_s) + 2).sum() + 2 * np.ceil(lateness_s * per_s[0]) + 2
    return int(3 * cells) + 8 * CHUNK
