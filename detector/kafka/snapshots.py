"""Snapshots in chunks on a compacted topic.

Law: a snapshot is named by the journal only when all of its chunks are committed, and the one named before stays whole
until then: chunks are keyed `task/generation/chunk`, and generations alternate, so compaction never takes a chunk of
the snapshot that a restore would read.

A big state is turned into bytes at one commit boundary and sent over several transactions, `CHUNKS_PER_COMMIT` each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from detector.kafka.journal import SnapshotReference
from schemas.topics import SNAPSHOT_CHUNK_BYTES_MAX

# 16 × 0.9 MB in one transaction: a tenth of a second on a slow disk, far below the transaction timeout.
CHUNKS_PER_COMMIT = 16

SEQUENCE_HEADER = "detector.snapshot.sequence"
OFFSET_HEADER = "detector.snapshot.offset"


class Upload:
    """One snapshot on its way to the topic.

    `offset` is the next input offset that its state waits for, `labels_offset` the next labels offset; `sequence` one
    above that of the task's last snapshot.
    """

    def __init__(self, task: int, sequence: int, offset: int, data: bytes, labels_offset: int | None = None) -> None:
        self.task, self.sequence, self.offset, self.labels_offset = task, sequence, offset, labels_offset
        self._data = memoryview(data)
        self._sha256 = hashlib.sha256(data).hexdigest()
        self.chunks = max(1, -(-len(data) // SNAPSHOT_CHUNK_BYTES_MAX))
        self._sent = 0
        self._first_offset: int | None = None

    @property
    def whole(self) -> bool:
        """Whether every chunk was handed to the producer."""
        return self._sent == self.chunks

    def take(self, chunks_max: int = CHUNKS_PER_COMMIT) -> Iterator[tuple[bytes, bytes, list[tuple[str, bytes]], bool]]:
        """The next chunks, at most `chunks_max`: key, value, headers, and whether it is the first."""
        for number in range(self._sent, min(self.chunks, self._sent + chunks_max)):
            self._sent = number + 1
            start = number * SNAPSHOT_CHUNK_BYTES_MAX
            value = bytes(self._data[start : start + SNAPSHOT_CHUNK_BYTES_MAX])
            yield _key(self.task, self.sequence, number), value, self._headers(), number == 0

    def _headers(self) -> list[tuple[str, bytes]]:
        return [(SEQUENCE_HEADER, str(self.sequence).encode()), (OFFSET_HEADER, str(self.offset).encode())]

    def first_delivered(self, error: object, message: Any) -> None:
        """Delivery report of the first chunk: learns its offset."""
        if error is None:
            self._first_offset = message.offset()

    def reference(self) -> SnapshotReference | None:
        """What the journal says of it; None until it is whole and its first chunk's offset is known (flush first)."""
        if not self.whole or self._first_offset is None:
            return None
        return SnapshotReference(
            sequence=self.sequence,
            chunks=self.chunks,
            bytes=len(self._data),
            sha256=self._sha256,
            first_offset=self._first_offset,
            offset=self.offset,
            labels_offset=self.labels_offset,
        )


class Download:
    """Collects the chunks of the snapshot at `reference`, in any order, skipping those of other snapshots."""

    def __init__(self, task: int, reference: SnapshotReference) -> None:
        self._reference = reference
        self._number = {_key(task, reference.sequence, number): number for number in range(reference.chunks)}
        self._marks = {
            (SEQUENCE_HEADER, str(reference.sequence).encode()),
            (OFFSET_HEADER, str(reference.offset).encode()),
        }
        self._chunks: list[bytes | None] = [None] * reference.chunks
        self._missing = reference.chunks

    def add(self, message: Any) -> bool:
        """Take one message of the topic; True once all chunks are there."""
        number = self._number.get(message.key())
        if number is not None and self._marks <= set(message.headers() or ()):
            if self._chunks[number] is None:
                self._missing -= 1
            self._chunks[number] = message.value() or b""
        return self._missing == 0

    def data(self) -> bytes | None:
        """The snapshot's bytes; None when a chunk is missing or the hash differs."""
        data = b"".join(chunk for chunk in self._chunks if chunk is not None)
        intact = self._missing == 0 and hashlib.sha256(data).hexdigest() == self._reference.sha256
        return data if intact else None


def _key(task: int, sequence: int, chunk: int) -> bytes:
    return f"{task}/{sequence % 2}/{chunk}".encode()
