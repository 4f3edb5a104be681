"""A sample of a table's rows that depends on the seed and on nothing else, and hashes of its rows.

Law: which rows are drawn depends on their numbers and on the seed, never on how the table is cut into chunks. A row's
draw is a hash of its number; the rows with the least draws are the sample (bottom-k, so without replacement).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from detector.codec.hashing import hash_columns
from detector.core.budget import tie_breaks

if TYPE_CHECKING:
    import pyarrow as pa

SEED = 0
NOTHING = np.uint64(0x6E6F7468696E6721)
Hashes = NDArray[np.uint64]


class Sample:
    """At most `rows` rows. `table` has them in file order, `row` their numbers, from 0."""

    def __init__(self, rows: int, seed: int = SEED) -> None:
        self._rows, self._seed = rows, seed
        self._tables: list[pa.Table] = []
        self._row: list[NDArray[np.int64]] = []
        self._draw: list[NDArray[np.float64]] = []
        self._held, self._below = 0, 1.0
        self.seen = 0

    def add(self, chunk: pa.Table, first_row: int, some: NDArray[np.bool_] | None = None) -> None:
        """The next rows, of which `some` may be drawn (all by default)."""
        row = first_row + np.arange(chunk.num_rows, dtype=np.int64)
        draw = tie_breaks(row, self._seed)
        drawn = draw < self._below
        if some is not None:
            drawn &= some
        self.seen += chunk.num_rows if some is None else int(some.sum())
        if not drawn.any():
            return
        at = np.flatnonzero(drawn)
        self._tables.append(chunk.take(at))
        self._row.append(row[at])
        self._draw.append(draw[at])
        self._held += len(at)
        if self._held > 2 * self._rows:
            self._prune()

    def _prune(self) -> None:
        import pyarrow as pa

        row, draw = np.concatenate(self._row), np.concatenate(self._draw)
        kept = (
            np.sort(np.argpartition(draw, self._rows - 1)[: self._rows])
            if len(draw) > self._rows
            else np.arange(len(draw))
        )
        self._tables = [pa.concat_tables(self._tables).take(kept).combine_chunks()]
        self._row, self._draw, self._held = [row[kept]], [draw[kept]], len(kept)
        if len(kept) == self._rows:
            self._below = float(draw[kept].max())

    def finish(self) -> tuple[pa.Table | None, NDArray[np.int64]]:
        """(the rows, their numbers); None where there are none."""
        if not self._tables:
            return None, np.empty(0, np.int64)
        self._prune()
        return self._tables[0], self._row[0]


def scattered(state: Hashes) -> Hashes:
    """splitmix64's finish (Steele, Lea, Flood, 2014): 64 bits of each."""
    z = (state + np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def hashes(column: pa.ChunkedArray) -> Hashes:
    """64 bits of each value, equal for equal values; a missing value has its own."""
    import pyarrow as pa
    from pyarrow import types

    array = column.combine_chunks()
    there = np.asarray(array.is_valid())
    if types.is_string(array.type):
        found = hash_columns([array.fill_null("").to_pylist()])[0]
    elif types.is_floating(array.type):
        found = scattered((array.fill_null(0.0).to_numpy() + 0.0).view(np.uint64))
    else:
        found = scattered(array.cast(pa.int64()).fill_null(0).to_numpy().view(np.uint64))
    return np.where(there, found, NOTHING)


def joined(columns: list[Hashes]) -> Hashes:
    """One hash of several, in their order."""
    total = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        total = scattered(total ^ column)
    return total


class Repeats:
    """Which values have been there before; 8 bytes a row. Two different values pass for equal once in 2^64 pairs."""

    def __init__(self) -> None:
        self._hashes: list[Hashes] = []

    def add(self, found: Hashes) -> None:
        """The next rows."""
        self._hashes.append(found)

    def finish(self, examples: int) -> tuple[int, int, list[tuple[int, int]]]:
        """(rows that repeat an earlier one, distinct values, the first `examples` as (row, row before)); rows from 0.

        Rows without a value are left out.
        """
        every = np.concatenate(self._hashes) if self._hashes else np.empty(0, np.uint64)
        self._hashes = []
        order = np.argsort(every, kind="stable")
        ranked = every[order]
        equal = (ranked[1:] == ranked[:-1]) & (ranked[1:] != NOTHING)
        again, before = order[1:][equal], order[:-1][equal]
        first = np.argsort(again)[:examples]
        pairs = list(zip(again[first].tolist(), before[first].tolist(), strict=True))
        missing = int((ranked == NOTHING).sum())
        return len(again), len(every) - missing - len(again), pairs
