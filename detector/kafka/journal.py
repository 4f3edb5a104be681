"""The journal: one small record a commit and task, on a compacted topic, in the transaction of that commit.

Law: the newest readable journal record of a task and the group's committed offset say the same, because they were
committed together. The record also says where the task's newest whole snapshot lies, and which spec made the state.

It names the very topics that were read, by the ids that brokers give them: offsets say nothing of a topic made anew.

Where labels are read, it says between which transactions they were folded in: every *cut* since that snapshot, so that
a restore folds them in at the same places. Without labels none of their fields is written.
"""

from __future__ import annotations

import msgspec

JOURNAL_VERSION = 1

# (transactions offset T, labels offset L): labels below L were folded in before the transaction at T.
Cut = tuple[int, int]


class JournalError(ValueError):
    """A journal record that this version cannot read."""


class SnapshotReference(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where a whole snapshot lies on the snapshots topic, in the partition of its task.

    `first_offset` is that of its first chunk; `offset` the next input offset that its state waits for, `labels_offset`
    the next labels offset.
    """

    sequence: int
    chunks: int
    bytes: int
    sha256: str
    first_offset: int
    offset: int
    labels_offset: int | None = None


class JournalRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one commit settled for one task.

    `inputs` maps `topic-partition` to the next offset; `origin_offset` is the first offset that the task ever read,
    `labels_origin` that of its labels. `cuts`: those since the snapshot, in order. `merged`: where there is no
    snapshot, up to here both logs were folded anew, in the order of event time (see `replay`). `topic_ids`: of the
    inputs' topics, by cluster and name; empty where the broker gives none. `state_parts`: digests of what the state's
    fingerprint is made of, by name; empty in records of older versions.
    """

    version: int
    task: int
    commit: int
    inputs: dict[str, int]
    origin_offset: int
    snapshot: SnapshotReference | None
    state_fingerprint: str
    spec_fingerprint: str
    guarantee: str
    labels_origin: int | None = None
    cuts: tuple[Cut, ...] = ()
    merged: Cut | None = None
    topic_ids: dict[str, str] = {}
    state_parts: dict[str, str] = {}


def encode(record: JournalRecord) -> bytes:
    """As JSON."""
    return msgspec.json.encode(record)


def decode(value: bytes, where: str) -> JournalRecord:
    """Raises JournalError, naming `where` it was read and what to do."""
    try:
        record = msgspec.json.decode(value, type=JournalRecord)
    except msgspec.DecodeError as error:
        raise JournalError(
            f"expected a journal record of version {JOURNAL_VERSION} at {where}, found what cannot be read ({error}); "
            "run the version that wrote it, or start with --rebuild"
        ) from None
    if record.version != JOURNAL_VERSION:
        raise JournalError(
            f"expected journal version {JOURNAL_VERSION} at {where}, found {record.version}; "
            "run the version that wrote it, or start with --rebuild"
        )
    return record


def key(task: int) -> bytes:
    """Record key of `task`; the partition is the task's own."""
    return str(task).encode()


def input_name(topic: str, partition: int) -> str:
    """Name of an input in `JournalRecord.inputs`."""
    return f"{topic}-{partition}"
