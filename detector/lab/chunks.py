"""What a backtest reads: records with their places, from a file here, from a live topic through the shell that can.

Law: a chunk holds each partition's records in the order of their offsets, and chunks of one partition follow each other
in that order. Nothing else is promised of the order, nor is it needed: partitions know nothing of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from detector.lab.errors import InputStopped, NotConfigured
from detector.lab.partitions import Partitions
from detector.lab.replay import BATCH_ROWS, PARTITIONS_BATCHED
from detector.lab.tables import open_table
from schemas.files import FileError, file_format, payloads
from schemas.mapping import Mapping

Past = Callable[[int], bool]


@dataclass(frozen=True, slots=True)
class Chunk:
    """n records: `partition`, `offset`, `record_time_ms` int64 (n,), the latter below 1 where unknown."""

    payloads: Sequence[bytes | None]
    partition: NDArray[np.int64]
    offset: NDArray[np.int64]
    record_time_ms: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.payloads)


class Source(Protocol):
    """Where records come from."""

    @property
    def name(self) -> str:
        """For people."""
        ...

    @property
    def partitions(self) -> int:
        """How many there are."""
        ...

    @property
    def rows(self) -> int | None:
        """How many to expect at most; None where unknown."""
        ...

    def notes(self) -> list[str]:
        """What a reader should know of the input, a sentence each; call after reading."""
        ...

    def chunks(self, past: Past) -> Iterator[Chunk]:
        """All records; of a partition of which `past` holds, no more."""
        ...


class FileSource:
    """Rows of a file, spread over partitions as the producer would."""

    def __init__(
        self, path: Path, mapping: Mapping, partitions: int, texts: Collection[str] = (), limit: int | None = None
    ) -> None:
        """`texts`: columns that are read as text. Raises NotConfigured where rows have no event time, InputStopped."""
        if "event_time" not in mapping.fields:
            raise NotConfigured(
                "input.fields.event_time: expected a path, for a file has no record timestamps to serve instead; map it"
            )
        self.name, self.partitions = path.name, partitions
        self.rows: int | None = limit
        self._path, self._texts, self._limit = path, frozenset(texts), limit
        self._placed = Partitions(mapping, partitions)
        with _told():
            # Lines are taken as they are: one that is no JSON is a reject, as it is live. Plain CSV needs no pyarrow.
            as_it_is = file_format(path) == "jsonl" or find_spec("pyarrow") is None
            self._table = None if as_it_is else open_table(path, limit)
        if self._table is not None:
            self.rows = self._table.rows

    def notes(self) -> list[str]:
        """What was decided in reading."""
        return self._table.choices if self._table is not None else []

    def chunks(self, past: Past) -> Iterator[Chunk]:
        """All rows, or those before all partitions are past. Raises InputStopped, NotConfigured."""
        size = BATCH_ROWS * min(self.partitions, PARTITIONS_BATCHED)
        with _told():
            batches = (
                self._table.payloads(size, self._texts)
                if self._table is not None
                else payloads(self._path, None, self._limit, self._texts, size)
            )
            for batch in batches:
                if all(map(past, range(self.partitions))):
                    return
                partition, offset = self._placed.place(batch)
                yield Chunk(batch, partition, offset, np.full(len(batch), -1, np.int64))


@contextmanager
def _told() -> Iterator[None]:
    """What goes wrong with a file, as the command tells it."""
    try:
        yield
    except FileError as error:
        raise InputStopped(str(error)) from error
    except ImportError as error:
        raise NotConfigured(str(error)) from error
