"""Rows of a file as JSON payloads, in file order: Parquet, CSV and JSON Lines.

Law (one row, one payload): a row's bytes depend on that row and on the columns asked for, never on its neighbours, the
batch size or who asks. `producers replay` publishes these bytes and `detector replay` scores them, so a live run and an
offline one decide over the same input.

How a value is written:

==========================  ==========================================================================================
in the file                 in the payload
==========================  ==========================================================================================
null, NaN, empty CSV field  left out
integer, decimal            the same digits
float                       shortest digits that read back to the same float64 (float32 is widened exactly first)
infinity                    the text "Infinity" or "-Infinity" (JSON has no such number; a reader refuses it by name)
timestamp                   RFC 3339 in UTC, as many decimals as the value needs: "2018-04-01T00:00:31Z"
date, time                  ISO 8601 text
CSV field                   a number where it is one ("00123" is not: its zeros would be lost), else text
JSON line                   the line as it is; with `columns`, those members as they are
==========================  ==========================================================================================
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import re
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from schemas.mapping import ID_ROLES, NUMERIC_FORMATS, Mapping, split_path

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 10_000
FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
CSV_DELIMITERS = ",;\t|"
# What reading raises: gzip that is cut off, damaged or none, and any file that the system cannot give us.
BROKEN = (EOFError, zlib.error, OSError)

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
# Numbers that people write and JSON does not know (+5, .5, 5.): rewritten; leading zeros stay text.
_LOOSE_NUMBER = re.compile(r"[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder(decimal_format="number")


class FileError(ValueError):
    """A file that cannot be read as rows: the message says what was expected, what was found and where."""


def payloads(
    path: Path,
    columns: Sequence[str] | None = None,
    limit: int | None = None,
    text_columns: Collection[str] = (),
    batch_rows: int = BATCH_ROWS,
) -> Iterator[list[bytes]]:
    """Batches of at most `batch_rows` JSON objects, one a row, in file order.

    `columns` keeps these only (all must exist in Parquet and CSV; a JSON line may lack some); `limit` stops after so
    many rows; `text_columns` are never read as numbers, so that an id such as "00123" and "123" stay what they are (CSV
    only: the other formats know their types; the function `text_columns` tells them from a mapping). The format follows
    the file's ending; `.gz` after it is undone for CSV and JSON Lines. Memory is bounded by a batch and, for Parquet,
    one row group's pages.

    Raises FileError: no such file, unknown ending, unknown column, broken content; ImportError names the extra `files`
    where Parquet is read without pyarrow.
    """
    kind = file_format(path)
    if not path.is_file():
        raise FileError(f"{path}: expected a file to read rows from, found none; check the path")
    if kind == "parquet":
        batches = _parquet(path, columns, batch_rows)
    elif kind == "csv":
        batches = _batched(_csv_rows(path, columns, frozenset(text_columns)), batch_rows)
    else:
        batches = _batched(_json_lines(path, columns), batch_rows)
    return batches if limit is None else _limited(batches, limit)


def file_format(path: Path) -> str:
    """`parquet`, `csv` or `jsonl` by the file's ending. Raises FileError for any other."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = bool(suffixes) and suffixes[-1] == ".gz"
    ending = suffixes[-2] if packed and len(suffixes) > 1 else (suffixes[-1] if suffixes else "")
    kind = FORMATS.get(ending)
    if kind is None or (packed and kind == "parquet"):
        known = ", ".join(FORMATS)
        raise FileError(f"{path}: expected a file ending in one of {known} (CSV and JSON Lines also .gz)")
    return kind


def row_count(path: Path) -> int | None:
    """Rows in the file where that costs nothing to know (Parquet), else None."""
    if file_format(path) != "parquet" or not path.is_file():
        return None
    with _open_parquet(path) as file:
        return int(file.metadata.num_rows)


def text_columns(mapping: Mapping) -> frozenset[str]:
    """The columns that this mapping reads as text, for `payloads`: ids, and event time where it is written as text."""
    paths = [path for role, path in mapping.fields.items() if role in ID_ROLES]
    if "event_time" in mapping.fields and mapping.time_format not in NUMERIC_FORMATS:
        paths.append(mapping.fields["event_time"])
    return frozenset(split_path(path)[0] for path in paths)


def _limited(batches: Iterator[list[bytes]], limit: int) -> Iterator[list[bytes]]:
    left = limit
    while left > 0 and (batch := next(batches, None)) is not None:
        yield batch[:left]
        left -= len(batch)


def _batched(rows: Iterator[bytes], batch_rows: int) -> Iterator[list[bytes]]:
    while batch := list(islice(rows, batch_rows)):
        yield batch


def _check_columns(path: Path, wanted: Sequence[str] | None, found: Sequence[str]) -> list[str]:
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise FileError(f"{path}: expected every column name once, found {twice} more than once")
    if wanted is None:
        return list(found)
    missing = [name for name in wanted if name not in found]
    if missing:
        raise FileError(f"{path}: expected the columns {missing}, found {list(found)}")
    return list(wanted)


# CSV and JSON Lines


def _open_binary(path: Path) -> gzip.GzipFile | io.BufferedReader:
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")


def _csv_rows(path: Path, columns: Sequence[str] | None, text_columns: frozenset[str]) -> Iterator[bytes]:
    line = 0
    try:
        with _open_binary(path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as text:
            first = text.readline()
            line = 1
            if not first.strip():
                raise FileError(f"{path}: expected a header line with column names, found none")
            delimiter = max(CSV_DELIMITERS, key=first.count)
            header = next(csv.reader([first], delimiter=delimiter))
            names = _check_columns(path, columns, header)
            wanted = [(header.index(name), _ENCODER.encode(name) + b":", name in text_columns) for name in names]
            reader = csv.reader(text, delimiter=delimiter, strict=True)
            for row in reader:
                line = reader.line_num + 1
                if not row:
                    continue
                if len(row) != len(header):
                    raise FileError(f"{path}, line {line}: expected {len(header)} fields, found {len(row)}")
                members = [key + value for at, key, is_text in wanted if (value := csv_value(row[at], is_text))]
                yield b"{" + b",".join(members) + b"}"
    except UnicodeDecodeError as error:
        raise FileError(f"{path}, after line {line}: expected UTF-8 text, found {error.reason}") from error
    except csv.Error as error:
        raise FileError(f"{path}, after line {line}: expected comma-separated values: {error}") from error
    except BROKEN as error:
        raise _broken(path, line, error) from error


def csv_value(field: str, is_text: bool) -> bytes:
    """The JSON value of one CSV field; empty bytes where there is none."""
    if not field:
        return b""
    if not is_text:
        if _NUMBER.fullmatch(field):
            return field.encode()
        stripped = field.strip()
        if not stripped or stripped.lower() == "nan":
            return b""
        if _LOOSE_NUMBER.fullmatch(stripped) and math.isfinite(number := float(stripped)):
            return _ENCODER.encode(number)
    return _ENCODER.encode(field)


def _json_lines(path: Path, columns: Sequence[str] | None) -> Iterator[bytes]:
    number = 0
    try:
        with _open_binary(path) as file:
            for number, line in enumerate(file, start=1):
                payload = line.strip()
                if not payload:
                    continue
                if columns is not None:
                    try:
                        row = _DECODER.decode(payload)
                    except msgspec.MsgspecError as error:
                        raise FileError(f"{path}, line {number}: expected a JSON object: {error}") from error
                    payload = _ENCODER.encode({name: row[name] for name in columns if name in row})
                yield payload
    except BROKEN as error:
        raise _broken(path, number, error) from error


def _broken(path: Path, line: int, error: Exception) -> FileError:
    return FileError(f"{path}, after line {line}: expected a file that can be read to its end: {error}")


# Parquet


def _open_parquet(path: Path) -> Any:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ImportError(
            f"{path}: reading Parquet needs pyarrow: install the extra `files` "
            "(pip install 'streaming-fraud-detector[files]')"
        ) from error
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise FileError(f"{path}: expected a Parquet file: {error}") from error


def _parquet(path: Path, columns: Sequence[str] | None, batch_rows: int) -> Iterator[list[bytes]]:
    with _open_parquet(path) as file:
        import pyarrow as pa

        done = 0
        try:
            names = _check_columns(path, columns, file.schema_arrow.names)
            new_row = _row_type(names)
            for batch in file.iter_batches(batch_size=batch_rows, columns=names):
                values = [_column_values(path, name, batch.column(name)) for name in names]
                yield list(map(_ENCODER.encode, map(new_row, *values))) if names else [b"{}"] * batch.num_rows
                done += batch.num_rows
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise FileError(f"{path}, after row {done}: expected a Parquet file in one piece: {error}") from error


def _row_type(names: Sequence[str]) -> Callable[..., Any]:
    """Makes what msgspec writes as one row's object, from its values in the order of `names`; None is left out.

    A struct is made and written in half the time of a dict, but msgspec has none with names that JSON must escape.
    """
    if any(mark in name for name in names for mark in ('"', "\\")) or any(letter < " " for letter in "".join(names)):
        return lambda *row: {name: value for name, value in zip(names, row, strict=True) if value is not None}
    attributes = [f"column_{index}" for index in range(len(names))]
    fields = [(attribute, Any, None) for attribute in attributes]
    return msgspec.defstruct(
        "Row", fields, rename=dict(zip(attributes, names, strict=True)), omit_defaults=True, gc=False
    )


def _column_values(path: Path, name: str, column: pa.Array) -> list[Any]:
    """One Python value a row: what msgspec writes as the module's table says, None where left out."""
    import pyarrow as pa
    from pyarrow import types

    kind = column.type
    if types.is_dictionary(kind):
        return _column_values(path, name, column.dictionary_decode())
    if types.is_floating(kind):
        return _float_values(column)
    if types.is_timestamp(kind):
        return _timestamp_texts(column)
    if types.is_date(kind) or types.is_time(kind):
        return [None if value is None else value.isoformat() for value in column.to_pylist()]
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        try:
            return list(column.cast(pa.binary()).cast(pa.string()).to_pylist())
        except pa.ArrowException as error:
            raise FileError(f"{path}, column {name!r}: expected bytes that are UTF-8 text: {error}") from error
    if types.is_duration(kind) or types.is_interval(kind):
        raise FileError(f"{path}, column {name!r}: expected numbers, text or times, found {kind}; leave it out")
    return list(column.to_pylist())


def _float_values(column: pa.Array) -> list[float | str | None]:
    import numpy as np
    import pyarrow as pa

    values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    plain: list[float | str | None] = values.tolist()
    for row in np.flatnonzero(~np.isfinite(values)).tolist():
        plain[row] = None if values[row] != values[row] else "Infinity" if values[row] > 0 else "-Infinity"
    return plain


def _timestamp_texts(column: pa.Array) -> list[str | None]:
    """RFC 3339 in UTC; a timestamp without zone is taken as UTC. Each value shows as many decimals as it has."""
    import numpy as np

    times = column.to_numpy(zero_copy_only=False)
    texts = np.datetime_as_string(times.astype("datetime64[s]")).tolist()
    absent = np.isnat(times)
    for row in np.flatnonzero((times != times.astype("datetime64[s]")) & ~absent).tolist():
        texts[row] = str(times[row]).rstrip("0")
    return [None if missing else text + "Z" for text, missing in zip(texts, absent.tolist(), strict=True)]
