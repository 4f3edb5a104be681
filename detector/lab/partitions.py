"""Which partition and offset each row of a file has in a topic of N partitions.

Law: equal to what `producers replay` into an empty topic gives: keyed rows go to the CRC32 of their key, in file order,
and each partition counts its own offsets. A row without key is put there by chance; here it goes round.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from schemas.mapping import Mapping
from schemas.members import KEY_ROLES, Members, as_key, key_partition


class Partitions:
    """Counts the offsets of all partitions; hand it the rows in file order."""

    def __init__(self, mapping: Mapping, partitions: int) -> None:
        role = next((role for role in KEY_ROLES if role in mapping.fields), None)
        self._members = Members({"key": mapping.fields[role]}) if role is not None and partitions > 1 else None
        self._next = np.zeros(partitions, np.int64)
        self.rows = 0
        self.unkeyed = 0  # rows that the producer would place by chance; not counted with one partition

    def place(self, payloads: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(partition, offset) of each payload, both int64 (n,)."""
        n, count = len(payloads), len(self._next)
        partition = np.zeros(n, np.int64) if count == 1 else np.fromiter(self._each(payloads), np.int64, n)
        offset = np.empty(n, np.int64)
        for one, rows in grouped(partition):
            offset[rows] = self._next[one] + np.arange(len(rows))
            self._next[one] += len(rows)
        self.rows += n
        return partition, offset

    def _each(self, payloads: Sequence[bytes]) -> Iterator[int]:
        values = self._members.columns(payloads)["key"] if self._members else [None] * len(payloads)
        for row, key in enumerate(map(as_key, values), start=self.rows):
            if key is None:
                self.unkeyed += 1
            yield row % len(self._next) if key is None else key_partition(key, len(self._next))


def grouped(partition: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """(partition, its rows in order) for each partition that has any."""
    if not len(partition):
        return
    order = np.argsort(partition, kind="stable")
    ranked = partition[order]
    starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
    for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(order)], strict=True):
        yield int(ranked[start]), order[start:stop]
