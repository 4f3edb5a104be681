"""How a CSV file is written, whoever wrote it: its encoding, its separator, its header, its column names."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from detector.lab.errors import InputStopped
from detector.lab.texts import PLAIN
from schemas.files import BROKEN, CSV_DELIMITERS

BLOCK_BYTES = 1 << 20
BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
HEADER_LINES_MAX = 50  # blank ones before the header


@dataclass(frozen=True, slots=True)
class Dialect:
    """`encoding` as Python names it; `skip` lines to and with the header; `names` of the columns, each once."""

    encoding: str
    delimiter: str
    skip: int
    names: tuple[str, ...]
    choices: tuple[str, ...]


def find(path: Path) -> Dialect:
    """Reads all bytes once, to know the encoding for sure. Raises InputStopped: empty, no header, damaged."""
    try:
        encoding = _encoding(path)
        choices = [] if encoding == "utf-8" else [f"encoding {encoding}, for the file is not UTF-8"]
        skip, header, delimiter = _header(path, encoding)
    except (*BROKEN, zlib.error) as error:
        raise InputStopped(f"{path}: expected a file that can be read to its end: {error}") from error
    names, renamed = unique(header)
    if header and all(re.match(PLAIN, name) for name in header):
        raise InputStopped(
            f"{path}, line {skip}: expected a header line with column names, found numbers only; put names above them"
        )
    if delimiter != ",":
        choices.append(f"separator {'tab' if delimiter == chr(9) else delimiter}")
    return Dialect(encoding, delimiter, skip, names, (*choices, *renamed))


def opened(path: Path) -> gzip.GzipFile | io.BufferedReader:
    """The file's bytes, unpacked."""
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")


def text(path: Path, encoding: str) -> io.TextIOWrapper:
    """The file's text without a byte order mark, line ends as they are."""
    return io.TextIOWrapper(opened(path), encoding="utf-8-sig" if encoding == "utf-8" else encoding, newline="")


def rows(path: Path, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """(line number, fields) of each row below the header that is not blank. Raises InputStopped."""
    line = dialect.skip
    try:
        with text(path, dialect.encoding) as lines:
            for _ in range(dialect.skip):
                lines.readline()
            reader = csv.reader(lines, delimiter=dialect.delimiter, strict=True)
            for fields in reader:
                if fields:
                    yield line + 1, fields
                line = dialect.skip + reader.line_num
    except csv.Error as error:
        raise InputStopped(f"{path}, after line {line}: expected separated values: {error}") from error
    except (*BROKEN, UnicodeDecodeError) as error:
        raise InputStopped(
            f"{path}, after line {line}: expected a file that can be read to its end: {error}"
        ) from error


def unique(header: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Names that differ and are not empty, and what was changed."""
    names: list[str] = []
    told: list[str] = []
    for place, given in enumerate(header, start=1):
        name = given.strip() or f"column_{place}"
        if not given.strip():
            told.append(f"column {place} has no name: it is called {name}")
        number = 2
        while name in names:
            name = f"{given.strip() or 'column'}_{number}"
            number += 1
        if given.strip() and name != given.strip():
            told.append(f"column name {given.strip()!r} twice: the one at place {place} is called {name}")
        names.append(name)
    return tuple(names), told


def _encoding(path: Path) -> str:
    decoder = codecs.getincrementaldecoder("utf-8")()
    utf8, first, size = True, b"", 0
    with opened(path) as file:
        while block := file.read(BLOCK_BYTES):
            first, size = first or block[:4], size + len(block)
            found = next((name for mark, name in BOMS if first.startswith(mark)), None)
            if found == "utf-16":
                return found
            try:
                decoder.decode(block)
            except UnicodeDecodeError:
                utf8 = False
                break
        if utf8:
            try:
                decoder.decode(b"", final=True)
            except UnicodeDecodeError:
                utf8 = False
    if not size:
        raise InputStopped(f"{path}: expected a header line with column names, found an empty file")
    return "utf-8" if utf8 else _one_byte(path)


def _one_byte(path: Path) -> str:
    """cp1252, which Windows writes, where every byte means something in it; else latin-1, where every byte does."""
    decoder = codecs.getincrementaldecoder("cp1252")()
    with opened(path) as file:
        while block := file.read(BLOCK_BYTES):
            try:
                decoder.decode(block)
            except UnicodeDecodeError:
                return "latin-1"
    return "cp1252"


def _header(path: Path, encoding: str) -> tuple[int, list[str], str]:
    """(lines to and with the header, its fields, the separator)."""
    with text(path, encoding) as lines:
        for number in range(1, HEADER_LINES_MAX + 1):
            line = lines.readline()
            if not line:
                break
            declared = re.fullmatch(r"sep=(.)\s*", line)
            if declared:  # a spreadsheet's own line
                return number + 1, next(csv.reader([lines.readline()], delimiter=declared[1]), []), declared[1]
            if line.strip():
                delimiter = max(CSV_DELIMITERS, key=line.count)
                return number, next(csv.reader([line], delimiter=delimiter)), delimiter
    raise InputStopped(f"{path}: expected a header line with column names, found none")
