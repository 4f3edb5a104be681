"""Chunks: what is uploaded is downloaded, whatever else lies between; what is not whole is not a snapshot."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.kafka.journal import SnapshotReference
from detector.kafka.snapshots import CHUNKS_PER_COMMIT, Download, Upload
from schemas.topics import SNAPSHOT_CHUNK_BYTES_MAX


@dataclass
class Chunk:
    """As much of a message as a download reads."""

    number: int
    name: bytes
    body: bytes
    marks: list[tuple[str, bytes]]

    def offset(self) -> int:
        return self.number

    def key(self) -> bytes:
        return self.name

    def value(self) -> bytes:
        return self.body

    def headers(self) -> list[tuple[str, bytes]]:
        return self.marks


def send(upload: Upload, first_offset: int = 0) -> tuple[list[Chunk], SnapshotReference]:
    """Every chunk, over as many commits as it takes, and the reference."""
    chunks: list[Chunk] = []
    while not upload.whole:
        assert upload.reference() is None
        for key, value, headers, first in upload.take():
            chunks.append(Chunk(first_offset + len(chunks), key, value, headers))
            if first:
                upload.first_delivered(None, chunks[-1])
    reference = upload.reference()
    assert reference is not None
    return chunks, reference


@pytest.mark.parametrize("size", [0, 1, SNAPSHOT_CHUNK_BYTES_MAX, SNAPSHOT_CHUNK_BYTES_MAX + 1])
def test_round_trip(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    chunks, reference = send(Upload(3, 5, 1_000, data), first_offset=70)
    assert (reference.first_offset, reference.bytes, reference.offset) == (70, size, 1_000)
    assert all(len(chunk.body) <= SNAPSHOT_CHUNK_BYTES_MAX for chunk in chunks)
    download = Download(3, reference)
    assert [download.add(chunk) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert download.data() == data


def test_a_big_one_takes_several_commits() -> None:
    upload = Upload(0, 1, 0, bytes(SNAPSHOT_CHUNK_BYTES_MAX * CHUNKS_PER_COMMIT + 1))
    assert len(list(upload.take())) == CHUNKS_PER_COMMIT
    assert not upload.whole
    assert len(list(upload.take())) == 1
    assert upload.whole
    assert list(upload.take()) == []


def test_an_undelivered_first_chunk_makes_no_reference() -> None:
    upload = Upload(0, 1, 0, b"x")
    list(upload.take())
    upload.first_delivered("failed", None)
    assert upload.reference() is None


def test_generations_alternate_so_that_compaction_spares_the_last_one() -> None:
    keys = [{chunk.name for chunk in send(Upload(0, sequence, 0, b"x"))[0]} for sequence in (1, 2, 3)]
    assert keys[0] == keys[2]
    assert keys[0].isdisjoint(keys[1])


@given(st.integers(0, 3), st.randoms())
def test_chunks_of_others_are_skipped_and_a_missing_one_is_noticed(left_out: int, chance: object) -> None:
    data = bytes(SNAPSHOT_CHUNK_BYTES_MAX * 3 + 7)
    chunks, reference = send(Upload(0, 4, 99, data))
    others = [
        *send(Upload(1, 4, 99, b"other task"))[0],
        *send(Upload(0, 5, 99, b"other generation"))[0],
        *send(Upload(0, 6, 120, b"same keys, later"))[0],
        *send(Upload(0, 2, 50, b"same keys, earlier"))[0],
    ]
    mixed = chunks + others
    chance.shuffle(mixed)  # type: ignore[attr-defined]
    download = Download(0, reference)
    assert any(download.add(chunk) for chunk in mixed)
    assert download.data() == data
    partial = Download(0, reference)
    assert not any(partial.add(chunk) for chunk in mixed if chunk is not chunks[left_out])
    assert partial.data() is None


def test_a_changed_byte_is_noticed() -> None:
    chunks, reference = send(Upload(0, 1, 0, b"state"))
    chunks[0].body = b"stale"
    download = Download(0, reference)
    download.add(chunks[0])
    assert download.data() is None
