"""Entity tables: a row (slot) a card, merchant or device, found by its 64-bit key, in flat arrays.

A table keeps, for each slot, when and where it was last seen, small sets of what it was seen with, and a chain of
*entries*: (newest second, rows, amount, spread and largest of amounts). A window is summed over the entries whose
second lies in it. Entries that have aged past the next smaller window are merged when they fall into one cell of the
window that they will leave next, which has 24, so a row leaves a window of length W between W and W + W/24 + 1 s. An
entity holds about 24 entries a window, and the finest ones for as long as the allowed lateness. Cost and memory follow
what an entity did, not what it might do.

The table is bounded: an entity unseen for longer than the longest window makes room for a new one, and past
`slots_max` the longest unseen of eight candidates does. Both depend on the log alone (law: cut invariance).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.core.jit import inlined, kernel

CHUNK = 5  # entries allocated together: few enough for millions of quiet cards, enough to scan a busy one quickly
DISTINCT_MAX = 8
GRID = 24  # cells a window
CANDIDATES = 8  # slots looked at when the table is full
LOAD_MAX = 0.7

# positions in `EntityTable.counter`
SLOTS, CHUNKS, FREE_CHUNK, FREE_COUNT, HAND, EVICTED, EXPIRED, CROWDS, DETAILS = range(9)
COUNTERS = 9

# why a kernel stopped before the end of its rows
DONE, GROW_SLOTS, GROW_CHUNKS, GROW_INDEX, GROW_CROWDS, GROW_DETAILS = range(6)


class EntityTable(NamedTuple):
    """The arrays of one entity: s slots, d crowds, c chunks, m details are capacities; `counter` tells what is used.

    Kernels unpack it once and hand plain arrays on: a tuple of arrays costs a reference count an array and call.
    """

    counter: NDArray[np.int64]
    cells: NDArray[np.int32]  # open addressing, slot + 1, 0 is empty; rebuilt, never saved
    key: NDArray[np.uint64]  # (s,)
    last_ms: NDArray[np.int64]  # (s,) latest event time, -1 before the first row
    chain: NDArray[np.int32]  # (s, 2): newest chunk or -1; entries in the chain, entries at which to merge << 16
    place: NDArray[np.float32]  # (s, 2) latitude, longitude of the last place; (0, 2) where unused
    place_s: NDArray[np.uint32]  # (s,) when that was
    recent: NDArray[np.uint16]  # (s, width) fingerprints of each `new` feature's last distinct values, newest first
    distinct: NDArray[np.uint16]  # (s, `distinct` features) fingerprint of the feature's only value, 0 if none or more
    distinct_s: NDArray[np.uint32]  # (s, `distinct` features) when it was last seen; of more, their crowd + 1
    crowd: NDArray[np.uint16]  # (d, DISTINCT_MAX) fingerprints of the values of those that have had more than one ...
    crowd_s: NDArray[np.uint32]  # (d, DISTINCT_MAX) ... and when each was last seen
    whole: NDArray[np.uint32]  # (c, 2 * CHUNK + 1 or 2): an entry's newest second, its rows; then OLDER, and DETAIL
    sums: NDArray[np.float64]  # (c, CHUNK): an entry's amount
    detail: NDArray[np.float32]  # (m, 2 * CHUNK): its amounts' spread and largest; (0, 0) where no feature needs them


# columns of `chain`
HEAD, FILL = range(2)
LIMIT_SHIFT = 16
ENTRIES_MAX = (1 << 15) - 1  # of a chain: what fits beside its limit

# columns of an entry in `whole` and in `detail`
SECOND, ROWS = range(2)
UNPRICED = 1 << 31  # set in ROWS where these rows had no amount, which therefore share no entry with others
OLDER = 2 * CHUNK  # the next chunk of the chain, or of the free list, plus one
DETAIL = OLDER + 1  # only where a feature needs details: a chunk's, from the first entry of several rows on, for good
SPREAD, LARGEST = range(2)  # Σ (amount − the entry's mean)², which single precision can hold, as Σ amount² it cannot

SLOT_ARRAYS = ("key", "last_ms", "chain", "place", "place_s", "recent", "distinct", "distinct_s")
CHUNK_ARRAYS = ("whole", "sums")
CROWD_ARRAYS = ("crowd", "crowd_s")
PARTS = {
    GROW_SLOTS: (SLOTS, SLOT_ARRAYS),
    GROW_CROWDS: (CROWDS, CROWD_ARRAYS),
    GROW_CHUNKS: (CHUNKS, CHUNK_ARRAYS),
    GROW_DETAILS: (DETAILS, ("detail",)),
}
"""What grows together, and the counter of what is in use."""


def new_table(*, recent_width: int, distinct: int, places: bool, detailed: bool) -> EntityTable:
    """An empty table with the columns that the declared features need."""
    slots, chunks, crowds, details = 256, 256, 256 if distinct else 0, 256 if detailed else 0
    counter = np.zeros(COUNTERS, np.int64)
    counter[FREE_CHUNK] = -1
    return EntityTable(
        counter=counter,
        cells=np.zeros(512, np.int32),
        key=np.zeros(slots, np.uint64),
        last_ms=np.zeros(slots, np.int64),
        chain=np.zeros((slots, 2), np.int32),
        place=np.zeros((slots if places else 0, 2), np.float32),
        place_s=np.zeros(slots if places else 0, np.uint32),
        recent=np.zeros((slots, recent_width), np.uint16),
        distinct=np.zeros((slots, distinct), np.uint16),
        distinct_s=np.zeros((slots, distinct), np.uint32),
        crowd=np.zeros((crowds, DISTINCT_MAX), np.uint16),
        crowd_s=np.zeros((crowds, DISTINCT_MAX), np.uint32),
        whole=np.zeros((chunks, DETAIL + 1 if detailed else DETAIL), np.uint32),
        sums=np.zeros((chunks, CHUNK), np.float64),
        detail=np.zeros((details, 2 * CHUNK if detailed else 0), np.float32),
    )


def grown(table: EntityTable, why: int) -> EntityTable:
    """The same table with room for more: small tables double, large ones grow in place by a sixteenth."""
    if why == GROW_INDEX:
        return reindexed(table, 2 * len(table.cells))
    _, names = PARTS[why]
    size = len(getattr(table, names[0]))
    capacity = size * 2 if size < 65_536 else size + size // 16
    for name in names:
        array = getattr(table, name)
        if len(array):
            # the allocator moves pages, not bytes; no view of an array outlives the call that made it
            array.resize((capacity, *array.shape[1:]), refcheck=False)
    return table


def reindexed(table: EntityTable, size: int) -> EntityTable:
    """The same table with a fresh index of `size` cells, a power of two."""
    index = np.zeros(size, np.int32)
    index_kernel(index, table.key, int(table.counter[SLOTS]))
    return table._replace(cells=index)


def index_size(slots: int) -> int:
    """Cells of an index for so many slots: a power of two with a load under LOAD_MAX."""
    size = 512
    while slots + 1 > LOAD_MAX * size:
        size *= 2
    return size


@kernel
def index_kernel(index, key, count):
    """Enter the keys of slots 0..count into an empty index."""
    mask = len(index) - 1
    for slot in range(count):
        cell = np.int64(key[slot] & np.uint64(mask))
        while index[cell] != 0:
            cell = (cell + 1) & mask
        index[cell] = slot + 1


@inlined
def find_slot_kernel(index, key, wanted):
    """The slot of the key `wanted`, or -1."""
    mask = len(index) - 1
    cell = np.int64(wanted & np.uint64(mask))
    while index[cell] != 0:
        slot = index[cell] - 1
        if key[slot] == wanted:
            return slot
        cell = (cell + 1) & mask
    return -1


@kernel
def forget_key_kernel(index, key, slot):
    """Take a slot's key out of the index; what was probed past it moves up, so there are no tombstones."""
    mask = len(index) - 1
    cell = np.int64(key[slot] & np.uint64(mask))
    while index[cell] != slot + 1:
        cell = (cell + 1) & mask
    hole = cell
    while True:
        cell = (cell + 1) & mask
        if index[cell] == 0:
            break
        home = np.int64(key[index[cell] - 1] & np.uint64(mask))
        if ((cell - home) & mask) >= ((cell - hole) & mask):
            index[hole] = index[cell]
            hole = cell
    index[hole] = 0


@inlined
def length_kernel(chain, slot):
    """Entries of the slot's chain."""
    return np.int64(chain[slot, FILL]) & ENTRIES_MAX


@inlined
def limit_kernel(chain, slot):
    """Entries of the slot's chain at which they are merged."""
    return np.int64(chain[slot, FILL]) >> LIMIT_SHIFT


@inlined
def fill_kernel(chain, slot, length, limit):
    """Note both of them."""
    chain[slot, FILL] = length | limit << LIMIT_SHIFT


@inlined
def older_kernel(whole, chunk):
    """The chunk after `chunk` in its chain, or -1."""
    return np.int64(whole[chunk, OLDER]) - 1


@inlined
def detail_kernel(whole, detail, chunk):
    """The row of `detail` that tells of the chunk's entries, or -1 while each of them is of one row."""
    return np.int64(whole[chunk, DETAIL]) - 1 if detail.shape[1] > 0 else -1


@kernel
def free_chunks_kernel(counter, whole, chunk):
    """Put a chain of chunks, from `chunk` on, on the free list."""
    while chunk >= 0:
        following = older_kernel(whole, chunk)
        whole[chunk, OLDER] = counter[FREE_CHUNK] + 1
        counter[FREE_CHUNK] = chunk
        counter[FREE_COUNT] += 1
        chunk = following


@inlined
def room_kernel(counter, sizes, slots_max, wanted):
    """DONE when one more row, which may want so many new crowds and details, surely fits, else what to grow first."""
    slots, cells, crowds, chunks, details = sizes
    if counter[SLOTS] >= slots and counter[SLOTS] < slots_max:
        return GROW_SLOTS
    if counter[FREE_CHUNK] < 0 and counter[CHUNKS] >= chunks:
        return GROW_CHUNKS
    if counter[SLOTS] + 1 > LOAD_MAX * cells:
        return GROW_INDEX
    if counter[CROWDS] + wanted[0] > crowds:
        return GROW_CROWDS
    if counter[DETAILS] + wanted[1] > details:
        return GROW_DETAILS
    return DONE


@kernel
def claim_slot_kernel(counter, index, key, last_ms, chain, whole, wanted, expire_before_ms, slots_max):
    """A slot for a key that has none: an expired entity's, a fresh one, or that of the longest unseen candidate."""
    used = counter[SLOTS]
    slot = np.int64(-1)
    if used > 0:
        # eight at a time: a hand that moved by one would follow the newest slot for as long as the table grows
        hand = counter[HAND] % used
        slot = hand
        for ahead in range(1, min(CANDIDATES, used)):
            other = (hand + ahead) % used
            if last_ms[other] < last_ms[slot]:
                slot = other
        counter[HAND] = hand + CANDIDATES
    if slot >= 0 and last_ms[slot] < expire_before_ms:
        counter[EXPIRED] += 1
    elif used < slots_max:
        slot = used
        counter[SLOTS] = used + 1
    else:
        counter[EVICTED] += 1
    if slot < used:
        forget_key_kernel(index, key, slot)
        free_chunks_kernel(counter, whole, np.int64(chain[slot, HEAD]))
    key[slot] = wanted
    last_ms[slot] = -1
    chain[slot, HEAD] = -1
    fill_kernel(chain, slot, 0, 4 * CHUNK)
    mask = len(index) - 1
    cell = np.int64(wanted & np.uint64(mask))
    while index[cell] != 0:
        cell = (cell + 1) & mask
    index[cell] = slot + 1
    return slot
