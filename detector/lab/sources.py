"""The rows of one file as they lie there, and as JSON payloads: CSV, Parquet, JSON Lines."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

import msgspec

from detector.lab import dialect
from detector.lab.errors import InputStopped, NotConfigured
from detector.lab.texts import Convert, number_text, times
from schemas.files import BROKEN, FileError, csv_value, payloads
from schemas.mapping import split_path
from schemas.members import Members
from schemas.times import rfc3339_text

if TYPE_CHECKING:
    import pyarrow as pa

RAGGED_SHARE_MAX = 0.05  # of the rows with another number of fields: more, and the separator is not what we took it for
RAGGED_ROWS_MIN = 20
CSV_BLOCK_BYTES = 4 << 20
JSON_SAMPLE_LINES = 10_000
INTEGER_EXACT_MAX = 2**53
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder()


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """What reading raises, as InputStopped with the place."""
    import pyarrow as pa

    try:
        yield
    except FileError as error:
        raise InputStopped(str(error)) from error
    except (pa.ArrowException, UnicodeDecodeError, *BROKEN) as error:
        raise InputStopped(f"{path}: expected a file that can be read to its end: {error}") from error
    except ImportError as error:
        raise NotConfigured(f"{path}: needs pip install 'streaming-fraud-detector[lab]' ({error})") from error


class Source:
    """A file's rows. `names` of its columns, `rows` where known, `choices` made, `ragged` rows left out so far."""

    numbers_as_text = False  # whether its numbers are texts, as in CSV
    comma_decimal = False  # what "1,234" is where nothing else tells

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: tuple[str, ...] = ()
        self.rows: int | None = None
        self.choices: list[str] = []
        self.ragged = 0

    def raw(self, rows: int, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Tables of at most about so many rows, in the file's own types."""
        raise NotImplementedError

    def payloads(self, columns: dict[str, Convert], batch_rows: int, texts: Collection[str]) -> Iterator[list[bytes]]:
        """JSON objects, one a row; `columns` says what has to be converted."""
        mixed = {split_path(self.path_of(name)): how for name, how in columns.items() if not how.plain}
        for batch in payloads(self.path, None, None, texts, batch_rows):
            yield [_patched(payload, mixed) for payload in batch] if mixed else batch

    def path_of(self, column: str) -> str:
        """How a mapping names this column."""
        return column.replace(".", "\\.")


class CsvSource(Source):
    """Rows with another number of fields than the header are left out, and counted."""

    numbers_as_text = True

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._dialect = dialect.find(path)
        self.names = self._dialect.names
        self.choices += self._dialect.choices
        self.comma_decimal = self._dialect.delimiter in ";\t"

    def raw(self, rows: int, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Texts. Raises InputStopped where too many rows are ragged."""
        import pyarrow as pa
        from pyarrow import csv

        self.ragged, done = 0, 0

        def count(_row: Any) -> str:
            self.ragged += 1
            return "skip"

        how = self._dialect
        packed = "gzip" if self.path.suffix.lower() == ".gz" else None
        with pa.input_stream(str(self.path), compression=packed) as stream:
            if how.encoding != "utf-8":
                stream = pa.transcoding_input_stream(stream, how.encoding, "utf-8")
            reader = csv.open_csv(
                stream,
                csv.ReadOptions(
                    use_threads=False, block_size=CSV_BLOCK_BYTES, column_names=list(how.names), skip_rows=how.skip
                ),
                csv.ParseOptions(delimiter=how.delimiter, newlines_in_values=True, invalid_row_handler=count),
                csv.ConvertOptions(
                    column_types=dict.fromkeys(how.names, pa.string()), include_columns=list(columns),
                    strings_can_be_null=False,
                ),
            )  # fmt: skip
            for batch in reader:
                done += batch.num_rows
                self._check(done)
                yield pa.Table.from_batches([batch])
            self._check(done)

    def _check(self, done: int) -> None:
        if self.ragged >= RAGGED_ROWS_MIN and self.ragged > RAGGED_SHARE_MAX * (done + self.ragged):
            raise InputStopped(
                f"{self.path}: expected rows of {len(self.names)} fields as the header has, found {self.ragged:,} of "
                f"the first {done + self.ragged:,} with another number; check the separator "
                f"({self._dialect.delimiter!r} was taken) and the quotes"
            )

    def payloads(self, columns: dict[str, Convert], batch_rows: int, texts: Collection[str]) -> Iterator[list[bytes]]:
        """As `schemas.files` writes them, with numbers and times converted where they are not plain."""
        makers = [
            (_ENCODER.encode(name) + b":", columns.get(name, Convert("text")), name in texts) for name in self.names
        ]
        rows = (
            b"{" + b",".join([key + value for (key, how, is_text), field in zip(makers, fields, strict=True)
                              if (value := _field(field, how, is_text))]) + b"}"
            for _, fields in dialect.rows(self.path, self._dialect) if len(fields) == len(makers)
        )  # fmt: skip
        while batch := list(islice(rows, batch_rows)):
            yield batch


class ParquetSource(Source):
    """Types as the file has them."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with self._open() as file:
            self.names = tuple(file.schema_arrow.names)
            self.rows = int(file.metadata.num_rows)
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise InputStopped(f"{path}: expected every column name once, found {twice} more than once; rename them")

    def _open(self) -> Any:
        from pyarrow import parquet

        return parquet.ParquetFile(self.path, pre_buffer=False, memory_map=False)

    def raw(self, rows: int, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The columns' own types."""
        import pyarrow as pa

        with self._open() as file:
            for batch in file.iter_batches(batch_size=rows, columns=list(columns), use_threads=False):
                yield pa.Table.from_batches([batch])


class JsonSource(Source):
    """Columns are the members that the first lines hold; an object's are called `outer.inner`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        found: dict[str, None] = {}
        bad = seen = 0
        with dialect.opened(path) as file:
            for line in islice((line for line in file if not line.isspace()), JSON_SAMPLE_LINES):
                row = _object(line)
                seen, bad = seen + 1, bad + (row is None)
                found |= dict.fromkeys(_leaves(row or {}))
        if seen and bad > seen / 2:
            raise InputStopped(
                f"{path}: expected a JSON object on each line, found {bad:,} of {seen:,} lines with none"
            )
        if bad:
            self.choices.append(f"{bad:,} of the first {seen:,} lines are no JSON objects: all of theirs is missing")
        self.names = tuple(found)
        self.choices += [f"columns are the members of the first {seen:,} lines"] if seen == JSON_SAMPLE_LINES else []
        self._types: dict[str, str] = {}  # as the first reading finds them, so that every reading gives the same

    def path_of(self, column: str) -> str:
        """Such a column is a path already."""
        return column

    def raw(self, rows: int, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Numbers as float64, booleans, and texts; a column of several is text."""
        import pyarrow as pa

        members = Members({name: name for name in columns})
        with dialect.opened(self.path) as file:
            lines = (line for line in file if not line.isspace())
            while batch := list(islice(lines, rows)):
                found = members.columns(batch)
                yield pa.table({name: self._array(name, found[name]) for name in columns})

    def _array(self, name: str, values: list[Any]) -> pa.Array:
        import pyarrow as pa

        kind = self._types.get(name) or self._types.setdefault(name, _json_type(values))
        kinds: dict[str, tuple[Any, set[type], Callable[[Any], Any]]] = {
            "number": (pa.float64(), {int, float, NoneType}, _json_number),
            "boolean": (pa.bool_(), {bool, NoneType}, _json_boolean),
            "text": (pa.string(), {str, NoneType}, _json_text),
        }
        arrow, plain, convert = kinds[kind]
        return pa.array(values if set(map(type, values)) <= plain else list(map(convert, values)), arrow)


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        row = _DECODER.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _leaves(row: dict[str, Any], before: str = "") -> Iterator[str]:
    """Paths of the members that hold neither an object nor a list."""
    for name, value in row.items():
        path = before + name.replace(".", "\\.")
        if isinstance(value, dict):
            yield from _leaves(value, path + ".")
        elif name and not isinstance(value, list):
            yield path


def _at(row: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        row = row.get(part) if isinstance(row, dict) else None
    return row


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _json_type(values: list[Any]) -> str:
    """number, boolean or text; whole numbers that float64 would not hold are ids, so text."""
    some = [value for value in values if value is not None]
    if some and all(isinstance(value, bool) for value in some):
        return "boolean"
    if some and all(_is_number(value) for value in some):
        return "text" if any(isinstance(value, int) and abs(value) >= INTEGER_EXACT_MAX for value in some) else "number"
    return "text"


def _json_number(value: Any) -> float | None:
    return float(value) if _is_number(value) else None


def _json_boolean(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _json_text(value: Any) -> str | None:
    if value is None or isinstance(value, dict | list):
        return None
    return value if isinstance(value, str) else _ENCODER.encode(value).decode()


def _field(field: str, how: Convert, is_text: bool) -> bytes:
    """The JSON value of a CSV field; nothing where there is none, or no number in a column of numbers."""
    if how.kind == "number" and not is_text:
        if how.plain:
            value = csv_value(field, False)
            return b"" if value.startswith(b'"') else value
        number = number_text(field, how)
        return b"" if number is None else _ENCODER.encode(number)
    if how.plain:
        return csv_value(field, is_text)
    return csv_value(_rfc3339(field, how), True)


def _rfc3339(text: str, how: Convert) -> str:
    """A time of a column of mixed formats in RFC 3339, as it is where none fits."""
    import pyarrow as pa

    found = times(pa.array([text], pa.string()), how.formats)[0].value
    return text if found is None else rfc3339_text(found)


def _patched(payload: bytes, mixed: dict[tuple[str, ...], Convert]) -> bytes:
    """A payload with the times of those columns in RFC 3339."""
    row = _object(payload)
    if row is None:
        return payload
    for path, how in mixed.items():
        inner = _at(row, path[:-1])
        text = inner.get(path[-1]) if isinstance(inner, dict) else None
        if isinstance(text, str):
            inner[path[-1]] = _rfc3339(text, how)
    return _ENCODER.encode(row)
