"""Any table, read in chunks: CSV of any dialect, Parquet, JSON Lines.

Laws: `chunks` and `payloads` give the same rows in the same order, however they are cut, and memory is bounded by a
chunk; a payload is byte for byte what `schemas.files.payloads` makes of the row wherever that can read the file. What
had to be decided on the way (an encoding, a decimal comma, rows left out) stands in `choices` as a sentence each; those
that only a whole reading can know are there after it.

A JSON object inside another is a column `outer.inner`; lists are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from detector.lab.errors import InputStopped, NotConfigured
from detector.lab.sources import CsvSource, JsonSource, ParquetSource, Source, readable
from detector.lab.texts import Convert, converted, recognise
from schemas.files import FileError, file_format
from schemas.mapping import is_readable, split_path

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLE_ROWS, SAMPLE_ROWS_MIN = 50_000, 2_000  # at the head of a file, which say what its columns are
SAMPLE_VALUES = 1 << 23  # of a wide table fewer rows, so that it takes no more memory than a narrow one


class Table:
    """`columns`: name → number, text, time or boolean. `rows` where that costs nothing to know, else None."""

    def __init__(self, path: Path, source: Source, limit: int | None = None) -> None:
        self.path = path
        self._source, self._limit = source, limit
        known = source.rows
        self.rows = known if limit is None or known is None else min(known, limit)
        self._head_rows = max(SAMPLE_ROWS_MIN, min(SAMPLE_ROWS, SAMPLE_VALUES // max(1, len(source.names))))
        self._converts: dict[str, Convert] = {}
        self._choices = list(source.choices)
        self._recognise()

    @property
    def columns(self) -> dict[str, str]:
        """Name → kind, in the order of the file."""
        return {name: how.kind for name, how in self._converts.items()}

    @property
    def choices(self) -> list[str]:
        """What was decided in reading, a sentence each."""
        late = [
            f"column {name}: {how.unread:,} values are no {how.kind} and count as missing, "
            f"the first in row {(how.first_unread or 0) + 1:,}"
            for name, how in self._converts.items()
            if how.unread
        ]
        ragged = self._source.ragged
        rows = [f"{ragged:,} rows are left out, for they have another number of fields than the header"]
        return [*self._choices, *(rows if ragged else []), *late]

    def time_format(self, column: str) -> str:
        """How this time column is written in the payloads, in the words of `input.time_format`."""
        patterns = self._converts[column].formats
        return patterns[0] if len(patterns) == 1 else "rfc3339"

    def path_of(self, column: str) -> str:
        """How a mapping names this column: a dot in a column's own name has a backslash before it."""
        return self._source.path_of(column)

    @cached_property
    def sample(self) -> pa.Table:
        """The first rows, SAMPLE_ROWS of a table that is not wide."""
        return next(self._plain(self._head_rows, list(self._converts)), None)

    def chunks(self, rows: int, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Tables of `rows` rows, the last one shorter: int64 or float64, text, boolean, timestamp[ms, UTC].

        Raises InputStopped: a broken file, a column that is not there, too many rows with another number of fields.
        """
        wanted = list(self._converts) if columns is None else list(columns)
        missing = [name for name in wanted if name not in self._converts]
        if missing:
            raise InputStopped(f"{self.path}: expected the columns {missing}, found {list(self._converts)}")
        for name in wanted:
            self._converts[name].unread, self._converts[name].first_unread = 0, None
        yield from self._plain(rows, wanted)

    def payloads(self, batch_rows: int, text_columns: Collection[str] = ()) -> Iterator[list[bytes]]:
        """Batches of `batch_rows` JSON objects as the decoder takes them; `text_columns` as `schemas.files.payloads`.

        Numbers with decimal commas and times in mixed formats are converted, the latter to RFC 3339.
        """
        left = self._limit
        with readable(self.path):
            for batch in self._source.payloads(self._converts, batch_rows, frozenset(text_columns)):
                yield batch if left is None else batch[:left]
                left = None if left is None else left - len(batch)
                if left is not None and left <= 0:
                    return

    def _plain(self, rows: int, columns: Sequence[str]) -> Iterator[pa.Table]:
        import pyarrow as pa

        done = 0
        with readable(self.path):
            for raw in _rebatched(self._source.raw(rows, columns), rows, self._limit):
                arrays = [_as_kind(raw.column(name), self._converts[name], done) for name in columns]
                done += raw.num_rows
                yield pa.table(arrays, names=list(columns))

    def _recognise(self) -> None:
        rows = self._head_rows if self._limit is None else min(self._head_rows, self._limit)
        names = [name for name in self._source.names if all(map(is_readable, split_path(self.path_of(name))))]
        odd = [name for name in self._source.names if name not in set(names)]
        if odd:
            if not names:
                raise InputStopped(f"{self.path}: expected a column whose name is plain text, found {odd}")
            self._choices.append(f"{odd}: left out, for their names hold quotes, backslashes or control characters")
        with readable(self.path):
            head = next(_rebatched(self._source.raw(rows, names), rows, rows), None)
        if head is None or not head.num_rows:
            raise InputStopped(f"{self.path}: expected rows below the header, found none")
        told: dict[str, list[str]] = {}
        for name in names:
            how, choices = self._column(_whole(head.column(name)))
            if how is not None:
                self._converts[name] = how
            for choice in choices:
                told.setdefault(choice, []).append(name)
        self._choices += [f"{', '.join(names)}: {choice}" for choice, names in told.items()]
        if not self._converts:
            raise InputStopped(f"{self.path}: expected columns of numbers, text or times, found none")

    def _column(self, column: pa.Array) -> tuple[Convert | None, list[str]]:
        """How a column is converted, None where it cannot be looked at; and the choices made."""
        import pyarrow as pa

        kind = _kind(column.type)
        if kind is None:
            return None, [f"{column.type} cannot be looked at; left out"]
        if kind == "time":
            patterns = ("rfc3339",) if pa.types.is_timestamp(column.type) else ("%Y-%m-%d",)
            how, choices = Convert(kind, patterns), list[str]()
        elif kind == "text":
            how, choices = recognise(_texts(column), self._source.numbers_as_text, self._source.comma_decimal)
        else:
            how, choices = Convert(kind), []
        if column.null_count == len(column) or (kind == "text" and not any(_texts(column).drop_null().to_pylist())):
            choices = (
                ["no value at all"]
                if len(column) < self._head_rows
                else [f"no value in the first {self._head_rows:,} rows"]
            )
        return how, choices


def open_table(path: Path, limit: int | None = None) -> Table:
    """The table at `path`, by the file's ending; of a longer one the first `limit` rows.

    Raises InputStopped: no such file, an unknown ending, nothing in it, damaged; NotConfigured: pyarrow is missing.
    """
    try:
        import pyarrow as pa  # noqa: F401
    except ImportError as error:
        raise NotConfigured(f"{path}: reading tables needs pip install 'streaming-fraud-detector[lab]'") from error
    if not path.is_file():
        raise InputStopped(f"{path}: expected a file with a table in it, found none; check the path")
    try:
        kind = file_format(path)
    except FileError as error:
        raise InputStopped(str(error)) from error
    with readable(path):
        sources = {"csv": CsvSource, "parquet": ParquetSource, "jsonl": JsonSource}
        return Table(path, sources[kind](path), limit)


def as_text(column: pa.Array) -> pa.Array:
    """Values as ids are written: whole numbers without a decimal point; null stays null."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import types

    if types.is_floating(column.type):
        whole = pc.and_(pc.equal(pc.floor(column), column), pc.less(pc.abs(column), 2.0**63))
        if pc.all(whole).as_py() is not False:
            column = column.cast(pa.int64())
    return column if types.is_string(column.type) else column.cast(pa.string())


def _kind(kind: pa.DataType) -> str | None:
    """What an arrow type is in the lab, None for what cannot be looked at."""
    from pyarrow import types

    if types.is_dictionary(kind):
        return _kind(kind.value_type)
    if types.is_boolean(kind):
        return "boolean"
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return "number"
    if types.is_timestamp(kind) or types.is_date(kind):
        return "time"
    is_text = any(
        test(kind)
        for test in (types.is_string, types.is_large_string, types.is_string_view, types.is_null, types.is_time)
    )
    return "text" if is_text else None


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """One array, dictionaries undone."""
    from pyarrow import types

    array = column.combine_chunks()
    return array.dictionary_decode() if types.is_dictionary(array.type) else array


def _texts(column: pa.Array) -> pa.Array:
    import pyarrow as pa

    return column if pa.types.is_string(column.type) else column.cast(pa.string())


def _as_kind(column: pa.ChunkedArray, how: Convert, first_row: int) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import types

    array = _whole(column)
    if _kind(array.type) == "text":
        return converted(_texts(array), how, first_row)
    if how.kind == "time":
        times = array if not types.is_date(array.type) else array.cast(pa.timestamp("ms"))
        return times.cast(pa.timestamp("ms", "UTC"), safe=False)
    if how.kind == "boolean" or (types.is_signed_integer(array.type) and array.type == pa.int64()):
        return array
    if types.is_integer(array.type):
        return array.cast(pa.float64() if array.type == pa.uint64() else pa.int64(), safe=False)
    values = array.cast(pa.float64())
    infinite = pc.is_inf(values)
    if pc.any(infinite).as_py():
        if how.first_unread is None:
            how.first_unread = first_row + int(pc.index(infinite, True).as_py())
        how.unread += int(pc.sum(infinite).as_py())
    return pc.if_else(pc.is_finite(values), values, pa.scalar(None, pa.float64()))


def _rebatched(tables: Iterator[pa.Table], rows: int, limit: int | None) -> Iterator[pa.Table]:
    """The same rows, `rows` to a table, the last one shorter; the first `limit` of them."""
    import pyarrow as pa

    held: list[pa.Table] = []
    count, left = 0, limit
    for table in tables:
        taken = table if left is None else table.slice(0, left)
        left = None if left is None else left - taken.num_rows
        held.append(taken)
        count += taken.num_rows
        while count >= rows:
            whole = pa.concat_tables(held)
            yield whole.slice(0, rows)
            held, count = [whole.slice(rows)], count - rows
        if left == 0:
            break
    if count:
        yield pa.concat_tables(held)
