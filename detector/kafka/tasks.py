"""A task: one input partition with its state.

::

      assigned                       restored
    ────────────▶ RESTORING ─────────────────────▶ RUNNING
                   ▲     │                          │   │
                   └─────┼──── rewind(cause) ───────┘   │
                         │                              │
                         └────── revoked or lost ───────┴──▶ CLOSED

RESTORING: the partition is paused; `restoring` is run one slice at a time by the main loop.
RUNNING:   `state` is the fold of all records below `next_offset`.
Rewinding throws the state away: there is no way back from a state that an aborted transaction has changed, other than
to restore it.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from detector.kafka.journal import Cut, SnapshotReference
from detector.kafka.snapshots import Upload

RestoreCause = Literal["assigned", "aborted", "fatal"]


class Phase(enum.Enum):
    """Where a task is in its life."""

    RESTORING = "restoring"
    RUNNING = "running"
    CLOSED = "closed"


@dataclass(slots=True)
class LabelHistory:
    """Where a task stands in the log of its labels, and how it came there; see `JournalRecord` for the fields.

    `looked_s`: monotonic time at which it was last seen to, for the interval between two cuts.
    """

    origin_offset: int
    next_offset: int
    cuts: list[Cut] = field(default_factory=list)
    merged: Cut | None = None
    committed_offset: int = -1
    looked_s: float = 0.0

    def __post_init__(self) -> None:
        self.committed_offset = self.next_offset

    def cut(self, transactions_offset: int, labels_offset: int) -> None:
        """Labels below `labels_offset` are folded in, before the transaction at `transactions_offset`."""
        self.next_offset = labels_offset
        self.cuts.append((transactions_offset, labels_offset))

    def since(self, snapshot: SnapshotReference | None) -> tuple[tuple[Cut, ...], Cut | None]:
        """Cuts and merge that a restore from `snapshot` has to repeat."""
        if snapshot is None or snapshot.labels_offset is None:
            return tuple(self.cuts), self.merged
        return tuple(cut for cut in self.cuts if cut[1] > snapshot.labels_offset), None


@dataclass(slots=True)
class Task:
    """Mutable; owned by the main thread.

    `touched`: records of it are in our hands, or in the open transaction, so an abort must restore it.
    `committed_offset`: next offset as last committed; `origin_offset`: first offset it ever read. `labels`: None where
    no labels are read.
    """

    partition: int
    cause: RestoreCause = "assigned"
    phase: Phase = Phase.RESTORING
    restoring: Iterator[None] | None = None
    restoring_since_s: float = field(default_factory=time.monotonic)

    state: Any = None
    next_offset: int = -1
    committed_offset: int = -1
    origin_offset: int = -1
    commit: int = 0
    touched: bool = False
    labels: LabelHistory | None = None

    snapshot: SnapshotReference | None = None
    upload: Upload | None = None
    rows_since_snapshot: int = 0
    snapshot_taken_s: float = field(default_factory=time.monotonic)

    def restored(
        self,
        state: Any,
        next_offset: int,
        origin_offset: int,
        commit: int,
        snapshot: SnapshotReference | None,
        rows: int,
        labels: LabelHistory | None = None,
    ) -> None:
        """RESTORING → RUNNING. `rows` were replayed after the snapshot."""
        assert self.phase is Phase.RESTORING, self.phase
        self.state, self.next_offset, self.committed_offset = state, next_offset, next_offset
        self.origin_offset, self.commit, self.snapshot = origin_offset, commit, snapshot
        self.rows_since_snapshot, self.snapshot_taken_s = rows, time.monotonic()
        self.labels = labels
        self.touched, self.restoring, self.phase = False, None, Phase.RUNNING

    def rewind(self, cause: RestoreCause) -> None:
        """Any living phase → RESTORING, from nothing."""
        assert self.phase is not Phase.CLOSED, self.phase
        self._drop()
        self.cause, self.phase, self.restoring_since_s = cause, Phase.RESTORING, time.monotonic()

    def close(self) -> None:
        """→ CLOSED; the state is gone."""
        self._drop()
        self.phase = Phase.CLOSED

    @property
    def at_boundary(self) -> bool:
        """Whether no transaction is folded in that is not committed."""
        return self.next_offset == self.committed_offset

    @property
    def changed(self) -> bool:
        """Whether anything was folded in since the newest snapshot was taken."""
        return bool(self.rows_since_snapshot or (self.labels is not None and self.labels.cuts))

    def skip(self, offset: int) -> None:
        """There is no record below `offset` that was not folded in; to be committed, and noted by the next snapshot."""
        self.rows_since_snapshot += offset - self.next_offset
        self.next_offset, self.touched = offset, True

    def committed(self) -> None:
        """All that it did since the last commit is settled."""
        self.committed_offset = self.next_offset
        self.commit += 1
        if self.upload is not None and (reference := self.upload.reference()) is not None:
            self.snapshot, self.upload = reference, None
        if self.labels is not None:
            self.labels.committed_offset = self.labels.next_offset
            cuts, self.labels.merged = self.labels.since(self.snapshot)
            self.labels.cuts = [*cuts]
        # A snapshot half sent belongs to the next transaction too, traffic or not.
        self.touched = self.upload is not None

    def _drop(self) -> None:
        if self.restoring is not None:
            getattr(self.restoring, "close", lambda: None)()
        self.state, self.restoring, self.upload, self.touched, self.labels = None, None, None, False, None
