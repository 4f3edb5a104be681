"""What the texts of a column are: numbers, times, true or false, or just texts; and their conversion by chunks.

A column is what nearly all its values are (KIND_SHARE_MIN of a sample). What then does not fit, in the sample or later,
is missing, and is counted by `Convert.unread`: nobody is asked and nothing is hidden.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

KIND_SHARE_MIN = 0.98  # of a sample's values, for it to be a column of numbers or of times
DIGITS_EXACT_MAX = 15  # a longer whole number is an id: float64 would lose its last digits
FORMAT_SHARE_MIN = 0.001  # of a sample's values: a format that reads fewer is not tried
MISSING = ("", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "?", "\\n")  # in columns that are not text

PLAIN = r"^\s*[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*$"
DECIMAL_COMMA = r"^\s*[+-]?(?:[0-9]{1,3}(?:\.[0-9]{3})+|0|[1-9][0-9]*)(?:,[0-9]+)?\s*$"
THOUSANDS_COMMA = r"^\s*[+-]?(?:[0-9]{1,3}(?:,[0-9]{3})+|0|[1-9][0-9]*)(?:\.[0-9]+)?\s*$"
TRUTH = r"^(?i:true|false)$"
LONG_DIGITS = rf"^\s*[+-]?[0-9]{{{DIGITS_EXACT_MAX + 1},}}\s*$"

RFC3339 = "rfc3339"
_RFC3339 = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})$"
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", "T%H:%M", "T%H:%M:%S", "T%H:%M:%S.%f")
_CLOCKS_12 = (" %I:%M %p", " %I:%M:%S %p")
_DATES = ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d")
_DAY_FIRST = ("%d.%m.%Y", "%d-%m-%Y", "%d/%m/%Y")
_MONTH_FIRST = ("%m/%d/%Y", "%m-%d-%Y", "%m.%d.%Y")
_NAMED = ("%d %b %Y", "%d-%b-%Y", "%b %d, %Y")
_TOKENS = {
    "%Y": "[0-9]{4}", "%m": "[0-9]{1,2}", "%d": "[0-9]{1,2}", "%H": "[0-9]{1,2}", "%I": "[0-9]{1,2}",
    "%M": "[0-9]{2}", "%S": "[0-9]{2}", "%f": "[0-9]{1,6}", "%p": "(?i:am|pm)", "%b": "[A-Za-z]{3}",
}  # fmt: skip


@dataclass(slots=True)
class Convert:
    """How a column's raw values become what they are.

    `kind` is number, text, time or boolean. `formats` of a time: "rfc3339" or strptime patterns, tried in order.
    `decimal` is "," where the numbers have decimal commas; `thousands` the mark between thousands. `unread` counts what
    was neither missing nor of this kind, over all chunks converted so far, and `first_unread` is the row of the first.
    """

    kind: str
    formats: tuple[str, ...] = ()
    decimal: str = "."
    thousands: str = ""
    unread: int = 0
    first_unread: int | None = None

    @property
    def plain(self) -> bool:
        """Whether a payload holds the value as the file has it."""
        return self.decimal == "." and not self.thousands and len(self.formats) <= 1


def formats() -> tuple[str, ...]:
    """Every time format that is recognised, the surest first."""
    patterns = [date + clock for date in (*_DATES, *_DAY_FIRST, *_MONTH_FIRST, *_NAMED) for clock in _CLOCKS]
    patterns += [date + clock for date in (*_DAY_FIRST, *_MONTH_FIRST, *_NAMED) for clock in _CLOCKS_12]
    return (RFC3339, *patterns)


def recognise(texts: pa.Array, numbers: bool, comma_decimal: bool) -> tuple[Convert, list[str]]:
    """What a sample's texts are, and the choices made. `numbers`: whether texts may be numbers at all, as in CSV;
    `comma_decimal`: what "1,234" is where nothing in the column decides it.
    """
    import pyarrow.compute as pc

    some = texts.filter(pc.invert(is_missing(texts)))
    if not len(some):
        return Convert("text"), []
    if numbers:
        if _share(some, TRUTH) == 1.0:
            return Convert("boolean"), []
        found = _number(some, comma_decimal)
        if found is not None:
            return found
    return _time(some) or (Convert("text"), [])


def is_missing(texts: pa.Array) -> pa.Array:
    """Which are null or one of the words for it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    words = pc.utf8_lower(pc.utf8_trim_whitespace(texts))
    return pc.or_(pc.is_null(texts), pc.fill_null(pc.is_in(words, pa.array(MISSING)), True))


def _share(texts: pa.Array, pattern: str) -> float:
    import pyarrow.compute as pc

    return float(pc.sum(pc.match_substring_regex(texts, pattern)).as_py() or 0) / len(texts)


def _number(some: pa.Array, comma_decimal: bool) -> tuple[Convert, list[str]] | None:
    if _share(some, r"^\s*[+-]?0[0-9]") > 0:  # the zeros of 00123 would be lost
        return None
    if _share(some, LONG_DIGITS) > 0:
        return Convert("text"), [f"whole numbers of more than {DIGITS_EXACT_MAX} digits are ids"]
    if _share(some, PLAIN) >= KIND_SHARE_MIN:
        return Convert("number"), []
    decimal, thousands = _share(some, DECIMAL_COMMA), _share(some, THOUSANDS_COMMA)
    if max(decimal, thousands) < KIND_SHARE_MIN:
        return None
    if decimal > thousands or (decimal == thousands and comma_decimal):
        doubt = [] if decimal > thousands else ["a comma might also be between thousands"]
        return Convert("number", decimal=",", thousands="."), ["decimal comma", *doubt]
    doubt = [] if thousands > decimal else ["a comma might also be a decimal comma"]
    return Convert("number", thousands=","), ["commas between thousands", *doubt]


def _time(some: pa.Array) -> tuple[Convert, list[str]] | None:
    """The formats that together read nearly all values, the most frequent first."""
    import pyarrow.compute as pc

    total, left = len(some), some
    found: list[tuple[int, str]] = []
    while len(left):
        counts = [(_reads(left, pattern), pattern) for pattern in formats()]
        count, pattern = max(counts, key=lambda item: item[0])  # of equals the first
        if count < max(1, FORMAT_SHARE_MIN * total):
            break
        found.append((count, pattern))
        if len(found) == 1 and count == total:
            twins = [other for number, other in counts if number == count and other != pattern]
            if twins:
                return Convert("time", (pattern,)), [f"times as {pattern}; {twins[0]} would read them all too"]
        left = left.filter(pc.is_null(parsed(left, pattern)))
    if len(left) > (1 - KIND_SHARE_MIN) * total:
        return None
    names = tuple(pattern for _, pattern in found)
    if len(found) == 1:
        return Convert("time", names), [f"times as {names[0]}"]
    shares = ", ".join(f"{count / total:.1%} as {pattern}" for count, pattern in found)
    return Convert("time", names), [f"mixed time formats: {shares}; each value is read by the first that fits"]


def _reads(texts: pa.Array, pattern: str) -> int:
    if _share(texts, shape(pattern)) == 0:
        return 0
    return len(texts) - int(parsed(texts, pattern).null_count)


@cache
def shape(pattern: str) -> str:
    """A regular expression of texts that a format may read; those of strptime are more patient than we want."""
    if pattern == RFC3339:
        return _RFC3339
    parts = re.split("(%[A-Za-z])", pattern)
    unknown = {part: ".+" for part in parts if part.startswith("%")}
    return "^" + "".join((unknown | _TOKENS).get(part) or re.escape(part) for part in parts) + "$"


def parsed(texts: pa.Array, pattern: str) -> pa.Array:
    """Texts read by one format: timestamp[ms, UTC], null where it does not fit."""
    import pyarrow as pa
    import pyarrow.compute as pc

    fits = pc.match_substring_regex(texts, shape(pattern))
    some = pc.if_else(fits, texts, pa.scalar(None, texts.type))
    if pattern != RFC3339 and not pattern.endswith("%f"):
        times = _strict(some, pattern)
        return times.cast(pa.timestamp("ms")).cast(pa.timestamp("ms", "UTC"))
    base = "%Y-%m-%dT%H:%M:%S" if pattern == RFC3339 else pattern.removesuffix(".%f")
    head = pc.replace_substring_regex(some, r"(?:\.[0-9]+)?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})?$", "", max_replacements=1)
    if pattern == RFC3339:
        head = pc.replace_substring_regex(head, r"^(.{10}).", r"\1T")
    seconds = _strict(head, base).cast(pa.timestamp("ms")).cast(pa.int64())
    digits = pc.replace_substring_regex(some, r"^[^:]*:[0-9]{2}:[0-9]{2}(?:\.([0-9]+))?.*$", r"\1")
    fraction = pc.utf8_slice_codeunits(pc.utf8_rpad(digits, 3, "0"), 0, 3).cast(pa.int64())
    total = pc.add(seconds, fraction)
    if pattern == RFC3339:
        total = pc.subtract(total, _offset_ms(some))
    return total.cast(pa.timestamp("ms")).cast(pa.timestamp("ms", "UTC"))


def _strict(texts: pa.Array, pattern: str) -> pa.Array:
    """timestamp[s], null where a text does not fit or names a day that its month has not, which strptime moves on."""
    import pyarrow as pa
    import pyarrow.compute as pc

    times = pc.strptime(texts, format=pattern, unit="s", error_is_null=True)
    if "%d" not in pattern or texts.null_count == len(texts):
        return times
    before = re.split("(%[A-Za-z])", pattern.partition("%d")[0])
    start = "^" + "".join(_TOKENS.get(part) or (".+" if part.startswith("%") else re.escape(part)) for part in before)
    day = pc.struct_field(pc.extract_regex(texts, f"{start}(?P<day>{_TOKENS['%d']})"), "day").cast(pa.int64())
    return pc.if_else(pc.equal(day, pc.day(times)), times, pa.scalar(None, times.type))


def _offset_ms(texts: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    zone = pc.extract_regex(texts, r"(?P<sign>[+-])(?P<hours>[0-9]{2}):(?P<minutes>[0-9]{2})$")
    hours, minutes = (pc.struct_field(zone, name).cast(pa.int64()) for name in ("hours", "minutes"))
    size = pc.multiply(pc.add(pc.multiply(hours, 60), minutes), 60_000)
    signed = pc.if_else(pc.equal(pc.struct_field(zone, "sign"), "-"), pc.negate(size), size)
    return pc.fill_null(signed, 0)


def times(texts: pa.Array, patterns: Sequence[str]) -> pa.Array:
    """Each text by the first format that fits."""
    import pyarrow.compute as pc

    found = parsed(texts, patterns[0])
    for pattern in patterns[1:]:
        if not found.null_count:
            break
        found = pc.coalesce(found, parsed(texts, pattern))
    return found


def numbers(texts: pa.Array, how: Convert) -> pa.Array:
    """Texts → float64, null where it is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    plain = texts
    if how.thousands or how.decimal == ",":
        pattern = DECIMAL_COMMA if how.decimal == "," else THOUSANDS_COMMA
        plain = pc.if_else(pc.match_substring_regex(texts, pattern), texts, pa.scalar(None, texts.type))
        plain = pc.replace_substring(plain, how.thousands, "")
        plain = pc.replace_substring(plain, ",", ".") if how.decimal == "," else plain
    plain = pc.utf8_trim_whitespace(plain)
    plain = pc.if_else(pc.match_substring_regex(plain, PLAIN), plain, pa.scalar(None, plain.type))
    values = pc.replace_substring_regex(plain, r"^\+", "").cast(pa.float64())
    return pc.if_else(pc.is_finite(values), values, pa.scalar(None, pa.float64()))


def converted(texts: pa.Array, how: Convert, first_row: int = 0) -> pa.Array:
    """A chunk's texts as their column's kind; counts what cannot be read. `first_row`: the chunk's first row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if how.kind == "text":
        return pc.if_else(pc.equal(texts, ""), pa.scalar(None, texts.type), texts)
    if how.kind == "number":
        values = numbers(texts, how)
    elif how.kind == "time":
        values = times(texts, how.formats)
    else:
        words = pc.utf8_lower(texts)
        values = pc.if_else(pc.is_in(words, pa.array(["true", "false"])), pc.equal(words, "true"), None)
    if values.null_count > texts.null_count:
        bad = pc.and_(pc.is_null(values), pc.invert(is_missing(texts)))
        count = int(pc.sum(bad).as_py() or 0)
        if count and how.first_unread is None:
            how.first_unread = first_row + int(pc.index(bad, True).as_py())
        how.unread += count
    return values


def number_text(text: str, how: Convert) -> Any:
    """One field of a number column for a payload: a float, or None where it is missing or none."""
    stripped = text.strip()
    pattern = DECIMAL_COMMA if how.decimal == "," else THOUSANDS_COMMA if how.thousands else PLAIN
    if not re.match(pattern, stripped):
        return None
    if how.thousands:
        stripped = stripped.replace(how.thousands, "")
    return float(stripped.replace(",", "."))
