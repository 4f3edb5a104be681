"""Decided rows → Parquet, CSV or JSON Lines, by the file's ending.

Law (all or nothing): the file under its final name is complete. Rows go to a hidden file beside it that takes the name
when all is written, and is removed when anything fails. Memory is bounded by GROUP_ROWS rows.

Columns: `transaction_id`, `event_time`, `verdict` (pass, review, alert, rejected), `risk_score`, `reasons`, `late`, one
`score_MEMBER` each, `partition`, `offset`, `reject_reason`. Of a rejected row, `reasons` says what is wrong with it;
event time, risk, scores and late are null.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np

from detector.lab.errors import NotConfigured, WrongUsage
from detector.lab.fold import REJECTED, VERDICTS, DecidedRows, fault
from detector.lab.hidden import beside

if TYPE_CHECKING:
    import pyarrow as pa

GROUP_ROWS = 65_536
REASON_SEPARATOR = " | "  # in CSV, which has no lists


class Writer(Protocol):
    """Takes rows in order."""

    def write(self, rows: DecidedRows) -> None:
        """Rows that follow those before."""

    def close(self) -> None:
        """All rows are there; write what is left."""


@contextmanager
def opened(path: Path, members: Sequence[str]) -> Iterator[Writer]:
    """A writer of `path`, which appears, or is replaced, when the block ends without an exception.

    Raises WrongUsage: unknown ending, no such folder, may not write, no space left; NotConfigured: Parquet without
    pyarrow. Other errors of the block pass through.
    """
    kind = WRITERS.get(path.suffix.lower())
    if kind is None:
        raise WrongUsage(f"--output {path}: expected a name ending in one of {', '.join(WRITERS)}")
    hidden = beside(path)
    try:
        with (
            io.BufferedWriter(_File(path, hidden)) as file,
            closing(kind(file, tuple(f"score_{name}" for name in members))) as writer,
        ):
            yield writer
        hidden.replace(path)
    except OSError as error:
        if error.filename != str(hidden):
            raise
        raise _unwritable(path, error) from error
    finally:
        with suppress(OSError):
            hidden.unlink()


class _File(io.FileIO):
    """A new file whose failing writes name `path`, the name that it is to take."""

    def __init__(self, path: Path, hidden: Path) -> None:
        super().__init__(str(hidden), "wb")
        self._path = path

    def write(self, data: Any) -> int:
        """As FileIO.write. Raises WrongUsage where there is no room."""
        try:
            return super().write(data)
        except OSError as error:
            raise _unwritable(self._path, error) from error


def _unwritable(path: Path, error: OSError) -> WrongUsage:
    return WrongUsage(f"--output {path}: expected a place where it can be written: {error.strerror}")


class ParquetWriter:
    """Row groups of GROUP_ROWS; `event_time` is a timestamp in UTC, `reasons` a list of strings."""

    def __init__(self, file: IO[bytes], scores: Sequence[str]) -> None:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise NotConfigured(
                "writing Parquet needs pyarrow: install the extra `files` "
                "(pip install 'streaming-fraud-detector[files]'), or ask for .csv or .jsonl"
            ) from error
        self._pa = pa
        self._schema = pa.schema(
            [
                ("transaction_id", pa.string()),
                ("event_time", pa.timestamp("ms", tz="UTC")),
                ("verdict", pa.string()),
                ("risk_score", pa.float64()),
                ("reasons", pa.list_(pa.string())),
                ("late", pa.bool_()),
                *((name, pa.float64()) for name in scores),
                ("partition", pa.int32()),
                ("offset", pa.int64()),
                ("reject_reason", pa.string()),
            ]
        )
        dictionary = ["verdict", "reject_reason", "reasons.list.element"]
        self._writer = pq.ParquetWriter(file, self._schema, compression="zstd", use_dictionary=dictionary)
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0

    def write(self, rows: DecidedRows) -> None:
        """Holds the rows until a row group is full."""
        self._waiting.append(self._batch(rows))
        self._rows += len(rows)
        if self._rows >= GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        """The last row group and the footer."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._waiting:
            table = self._pa.Table.from_batches(self._waiting, self._schema)
            self._writer.write_table(table, row_group_size=max(1, self._rows))
            self._waiting, self._rows = [], 0

    def _batch(self, rows: DecidedRows) -> pa.RecordBatch:
        pa = self._pa
        bad = rows.verdict == REJECTED
        names = np.array([VERDICTS[code] for code in sorted(VERDICTS)], object)
        texts, counts = told(rows)
        reasons = pa.ListArray.from_arrays(
            pa.array(np.append(0, np.cumsum(counts)), pa.int32()), pa.array(texts, pa.string())
        )
        rejected = [None if row not in rows.rejects else rows.rejects[row].reason.value for row in range(len(rows))]
        return pa.record_batch(
            [
                pa.array(rows.transaction_id, pa.string()),
                pa.array(rows.event_time_ms, pa.timestamp("ms", tz="UTC"), mask=bad),
                pa.array(names[rows.verdict - min(VERDICTS)], pa.string()),
                pa.array(rows.risk, mask=bad),
                reasons,
                pa.array(rows.late, mask=bad),
                *(pa.array(score, mask=bad) for score in rows.score),
                pa.array(rows.partition.astype(np.int32)),
                pa.array(rows.offset),
                pa.array(rejected, pa.string()),
            ],
            schema=self._schema,
        )


class CsvWriter:
    """A header, then a line a row: times as RFC 3339, null as an empty field, reasons with ` | ` between them."""

    def __init__(self, file: IO[bytes], scores: Sequence[str]) -> None:
        self._file = file
        self._names = names(scores)
        self._file.write((",".join(self._names) + "\r\n").encode())

    def write(self, rows: DecidedRows) -> None:
        """The rows' lines."""
        times = np.datetime_as_string(rows.event_time_ms.astype("datetime64[ms]")).tolist()
        lines = _Lines()
        writer = csv.writer(lines)
        for row, values in enumerate(as_tuples(rows)):
            fields = list(values)
            fields[1] = "" if fields[1] is None else times[row] + "Z"
            fields[4] = REASON_SEPARATOR.join(fields[4])
            fields[5] = "" if fields[5] is None else str(fields[5]).lower()
            writer.writerow(fields)
        self._file.write("".join(lines.lines).encode())

    def close(self) -> None:
        """Nothing is held back."""


class JsonLinesWriter:
    """An object a line; `event_time` in milliseconds since the epoch."""

    def __init__(self, file: IO[bytes], scores: Sequence[str]) -> None:
        self._file = file
        self._names = names(scores)

    def write(self, rows: DecidedRows) -> None:
        """The rows' lines."""
        encode = msgspec.json.Encoder().encode
        lines = [encode(dict(zip(self._names, values, strict=True))) for values in as_tuples(rows)]
        self._file.write(b"\n".join([*lines, b""]))

    def close(self) -> None:
        """Nothing is held back."""


WRITERS: dict[str, Any] = {
    ".parquet": ParquetWriter,
    ".pq": ParquetWriter,
    ".csv": CsvWriter,
    ".jsonl": JsonLinesWriter,
    ".ndjson": JsonLinesWriter,
}


class _Lines:
    """What `csv.writer` takes for a file."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, line: str) -> None:
        self.lines.append(line)


def names(scores: Sequence[str]) -> tuple[str, ...]:
    """Column names in order."""
    before = ("transaction_id", "event_time", "verdict", "risk_score", "reasons", "late")
    return (*before, *scores, "partition", "offset", "reject_reason")


def as_tuples(rows: DecidedRows) -> Iterator[tuple[Any, ...]]:
    """A tuple a row in the order of `names`; None for null, `reasons` a list."""
    bad = (rows.verdict == REJECTED).tolist()
    scores = list(zip(*(score.tolist() for score in rows.score), strict=True)) or [()] * len(rows)
    nothing = (None,) * len(rows.score)
    columns = zip(
        rows.transaction_id, rows.event_time_ms.tolist(), rows.verdict.tolist(), rows.risk.tolist(),
        rows.late.tolist(), rows.partition.tolist(), rows.offset.tolist(), strict=True,
    )  # fmt: skip
    for row, (identity, time_ms, verdict, risk, late, partition, offset) in enumerate(columns):
        place = (partition, offset)
        if bad[row]:
            reject = rows.rejects[row]
            yield (identity, None, VERDICTS[verdict], None, [fault(reject)], None, *nothing, *place,
                   reject.reason.value)  # fmt: skip
        else:
            reasons = rows.reasons.get(row, [])
            yield (identity, time_ms, VERDICTS[verdict], risk, reasons, late, *scores[row], *place, None)


def told(rows: DecidedRows) -> tuple[list[str], np.ndarray[Any, np.dtype[np.int64]]]:
    """(all reasons of all rows, how many each row has)."""
    counts = np.zeros(len(rows), np.int64)
    texts: list[str] = []
    for row in sorted([*rows.reasons, *rows.rejects]):
        some = rows.reasons[row] if row in rows.reasons else [fault(rows.rejects[row])]
        counts[row] = len(some)
        texts += some
    return texts, counts
