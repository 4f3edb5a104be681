"""Journal records: versioned, and frozen by a golden one."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from detector.kafka import journal

GOLDEN = Path(__file__).parents[2] / "golden" / "journal_v1.json"

RECORD = journal.JournalRecord(
    version=1,
    task=3,
    commit=42,
    inputs={"transactions-3": 123_456},
    origin_offset=17,
    snapshot=journal.SnapshotReference(
        sequence=7, chunks=2, bytes=1_000_000, sha256="ab" * 32, first_offset=900, offset=120_000
    ),
    state_fingerprint="0123456789abcdef",
    spec_fingerprint="fedcba9876543210",
    guarantee="exactly_once",
)


LABELLED = msgspec.structs.replace(
    RECORD,
    inputs={"transactions-3": 123_456, "labels-3": 900},
    snapshot=msgspec.structs.replace(RECORD.snapshot, labels_offset=700),
    labels_origin=0,
    cuts=((121_000, 800), (122_000, 900)),
)
MERGED = msgspec.structs.replace(LABELLED, snapshot=None, merged=(120_000, 700))


@pytest.mark.parametrize("record", [LABELLED, MERGED], ids=["labels", "labels_merged"])
def test_golden_records_with_labels_are_still_read_and_written(record: journal.JournalRecord) -> None:
    name = "journal_v1_labels_merged.json" if record.merged else "journal_v1_labels.json"
    golden = GOLDEN.with_name(name).read_bytes().strip()
    assert journal.decode(golden, "here") == record
    assert journal.encode(record) == golden


def test_the_golden_record_is_still_read_and_written() -> None:
    golden = GOLDEN.read_bytes().strip()
    assert journal.decode(golden, "here") == RECORD
    assert journal.encode(RECORD) == golden


@pytest.mark.parametrize("value", [b"", b"{}", b"[]", b"\xff", journal.encode(RECORD)[:-1]])
def test_what_cannot_be_read_names_the_place_and_the_remedy(value: bytes) -> None:
    with pytest.raises(journal.JournalError, match=r"at there.*--rebuild"):
        journal.decode(value, "there")


def test_another_version_is_refused() -> None:
    later = msgspec.structs.replace(RECORD, version=2)
    with pytest.raises(journal.JournalError, match="version 1 at there, found 2"):
        journal.decode(journal.encode(later), "there")
