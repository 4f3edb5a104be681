"""What the columns of a table are taken for, from their names, their kinds and a sample; and a detector.toml of it.

A guess, told with its reasons, that a person is to look over. It is careful in one direction: a column that names the
truth, or an id, or a clock, is never a number that models look at.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detector.codec.masking import DIGITS_MAX, passes_luhn
from detector.lab.role_names import FALSE_WORDS, KINDS, LEAKS, NAMES, OTHERS, TRUE_WORDS
from detector.lab.tables import Table, as_text
from detector.lab.texts import times
from schemas.base import AMOUNT_MAX, NUMERIC_ABS_MAX

if TYPE_CHECKING:
    import pyarrow as pa

CATEGORY_VALUES_MAX = 50
ID_SHARE_MIN = 0.9  # of an id's values are met once
LUHN_SHARE_MIN = 0.9  # of a column's long numbers pass the check of card numbers: of others a tenth does
ROW_ROLES = ("event_time", "transaction_id", "card", "customer", "merchant", "terminal", "device", "ip", "country",
             "mcc", "channel", "currency", "amount", "lat", "lon", "label")  # fmt: skip
YEAR_2000_S, YEAR_2100_S = 946_684_800, 4_102_444_800
YEAR_1900_MS, YEAR_2200_MS = -2_208_988_800_000, 7_258_118_400_000
INTEGER_BOUND = 2.0**62


@dataclass(frozen=True, slots=True)
class Roles:
    """Role → column, None where there is none. `numeric`: further numbers that models look at; `categories`: texts of
    few values; `texts`: of many, left out; `secrets`: columns of card numbers, whatever their role; `told`: column →
    why it is taken for that.

    `time_format`, `time_origin` as in `[input]`; None where there is no event time. `disorder_ms`: how far behind the
    highest event time so far a row of the sample lies at most; `amount_min` the least amount of the sample;
    `rows_per_day` of the sample; `paths`: column → path in a mapping; `stem`: what the application may be called.
    """

    event_time: str | None = None
    transaction_id: str | None = None
    card: str | None = None
    customer: str | None = None
    merchant: str | None = None
    terminal: str | None = None
    device: str | None = None
    ip: str | None = None
    country: str | None = None
    mcc: str | None = None
    channel: str | None = None
    currency: str | None = None
    amount: str | None = None
    lat: str | None = None
    lon: str | None = None
    label: str | None = None
    numeric: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    time_format: str | None = None
    time_origin: str = ""
    disorder_ms: int = 0
    amount_min: float = 0.0
    rows_per_day: float = 0.0
    secrets: frozenset[str] = frozenset()
    told: dict[str, str] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)
    stem: str = "transactions"

    @property
    def owner(self) -> str | None:
        """The column of whom the money belongs to: the card's, else the customer's."""
        return self.card or self.customer

    @property
    def entities(self) -> dict[str, str]:
        """Entity → its column, those that there are."""
        names = ("card", "customer", "merchant", "terminal", "device")
        return {name: column for name in names if (column := getattr(self, name)) is not None}

    @property
    def used(self) -> frozenset[str]:
        """Columns that the configuration names."""
        return frozenset([*self.by_role().values(), *self.numeric])

    def by_role(self) -> dict[str, str]:
        """Role → column, those that there are."""
        return {role: column for role in ROW_ROLES if (column := getattr(self, role)) is not None}

    def toml(self) -> str:
        """A detector.toml that the service takes without an edit."""
        from detector.lab.roles_toml import toml

        return toml(self)

    def times(self, chunk: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Event times of a chunk's rows in ms since 1970 UTC, and which rows have one."""
        return times_of(chunk.column(self.event_time), self.time_format or "", self.time_origin)

    def truths(self, chunk: pa.Table) -> NDArray[np.int8]:
        """The label of a chunk's rows: 1 fraud, 0 genuine, -1 unknown."""
        return truths_of(chunk.column(self.label))


def times_of(column: pa.ChunkedArray, time_format: str, origin: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(ms since 1970 UTC, which are there) of times, of texts as `time_format` says, or of numbers as it says.

    Years before 1900 or after 2200 stand for no time: the detector takes none of them either.
    """
    import pyarrow as pa

    from schemas.times import rfc3339_ms

    if pa.types.is_string(column.type):
        column = pa.chunked_array([times(column.combine_chunks(), [time_format])])
    there = np.asarray(column.is_valid())
    if pa.types.is_timestamp(column.type):
        time_ms = column.cast(pa.int64()).fill_null(0).to_numpy().astype(np.int64)
    else:
        numbers = column.cast(pa.float64()).fill_null(0).to_numpy()
        scale = 1 if time_format == "epoch_ms" else 1000
        time_ms = np.clip(numbers * scale, -INTEGER_BOUND, INTEGER_BOUND).astype(np.int64)
        time_ms += rfc3339_ms(origin) if origin else 0
    there = there & (time_ms >= YEAR_1900_MS) & (time_ms < YEAR_2200_MS)
    return np.where(there, time_ms, 0), there


def truths_of(column: pa.ChunkedArray) -> NDArray[np.int8]:
    """1 fraud, 0 genuine, -1 unknown; words in TRUE_WORDS and FALSE_WORDS beside 0, 1 and booleans."""
    import pyarrow as pa
    import pyarrow.compute as pc

    words = pc.utf8_lower(pc.utf8_trim_whitespace(as_text(column)))
    is_true, is_false = (pc.is_in(words, pa.array(sorted(some))).to_numpy() for some in (TRUE_WORDS, FALSE_WORDS))
    return np.where(is_true, 1, np.where(is_false, 0, -1)).astype(np.int8)


def words_of(name: str) -> list[str]:
    """`TX_FRAUDScenario` → tx, fraud, scenario."""
    apart = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    apart = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1 \2", apart)
    return [word.lower() for word in re.findall(r"[A-Za-z]+[0-9]*|[0-9]+", apart)]


def guess(table: Table, label: str | None = None) -> Roles:
    """Roles of a table's columns; `label` names the truth where it is known."""
    return _Guess(table, label).roles()


class _Guess:
    """One table's columns, taken one role after the other."""

    def __init__(self, table: Table, label: str | None) -> None:
        self._table, self._columns, self._sample = table, table.columns, table.sample
        self._label = label
        self._told: dict[str, str] = {}
        self._found: dict[str, str] = {}
        self._squeezed = {name: "".join(words_of(name)) for name in self._columns}
        self._statistics: dict[str, _Values] = {}
        self._secrets: list[str] = []

    def roles(self) -> Roles:
        """All of it. The order matters: what is surest goes first, and a column has one role."""
        self._named_label()
        self._card_numbers()
        tests: dict[str, Callable[[str], bool]] = {
            "event_time": self._is_time, "transaction_id": self._is_id, "amount": self._is_amount,
            "lat": lambda name: self._of(name).within(-90, 90), "lon": lambda name: self._of(name).within(-180, 180),
            "label": self._is_truth,
        }  # fmt: skip
        for role in ("label", "event_time", "transaction_id", "card", "customer", "merchant", "terminal", "device",
                     "ip", "amount", "lat", "lon", "currency", "mcc", "channel", "country"):  # fmt: skip
            if role not in self._found:
                self._take(role, tests.get(role, self._is_there))
        time_format, origin = self._time_format()
        numeric, categories, texts = self._rest()
        disorder_ms, per_day = self._order(time_format, origin)
        amount = self._found.get("amount")
        least = self._of(amount).least if amount is not None else 0.0
        return Roles(
            **self._found, numeric=numeric, categories=categories, texts=texts,
            time_format=time_format, time_origin=origin, disorder_ms=disorder_ms, rows_per_day=per_day,
            amount_min=min(0.0, least), told=self._told,
            secrets=frozenset(self._secrets),
            paths={name: self._table.path_of(name) for name in self._columns}, stem=self._table.path.name.split(".")[0],
        )  # fmt: skip

    def _of(self, name: str) -> _Values:
        if name not in self._statistics:
            self._statistics[name] = _Values(self._sample.column(name))
        return self._statistics[name]

    def _set(self, role: str, name: str, why: str) -> None:
        self._found[role] = name
        self._told[name] = f"{role.replace('_', ' ')}: {why}"

    def _named_label(self) -> None:
        if self._label is not None:
            self._set("label", self._label, "named with --label")

    def _card_numbers(self) -> None:
        """A column of numbers that pass the check is a card, whatever its name."""
        self._secrets = [name for name in self._columns if self._of(name).card_numbers() >= LUHN_SHARE_MIN]
        for name in self._secrets:
            if name in self._told:
                continue
            if "card" in self._found:
                self._told[name] = "left out: its values are card numbers"
            else:
                self._set("card", name, "its values are card numbers")

    def _take(self, role: str, fits: Callable[[str], bool]) -> None:
        kinds = KINDS.get(role, ("text", "number"))
        for pattern in NAMES[role]:
            for name, kind in self._columns.items():
                if name in self._told or kind not in kinds or not _named(self._squeezed[name], pattern):
                    continue
                if "*" in pattern and OTHERS & set(words_of(name)):
                    continue
                if fits(name):
                    self._set(role, name, f"by its name and its values ({kind})")
                    return
        if role == "event_time":
            free = [name for name, kind in self._columns.items() if kind == "time" and name not in self._told]
            if len(free) == 1:
                self._set(role, free[0], "the only column of times")

    def _is_there(self, name: str) -> bool:
        return self._of(name).count > 0

    def _is_id(self, name: str) -> bool:
        return self._of(name).distinct >= ID_SHARE_MIN * max(1, self._of(name).count)

    def _is_amount(self, name: str) -> bool:
        return self._of(name).distinct > 1 and self._of(name).within(-AMOUNT_MAX, AMOUNT_MAX)

    def _is_truth(self, name: str) -> bool:
        """Two values at most, each of which says fraud or genuine."""
        values = self._of(name)
        return 0 < values.distinct <= 2 and bool((truths_of(self._sample.column(name)) >= 0).sum() == values.count)

    def _is_time(self, name: str) -> bool:
        if self._columns[name] == "time":
            return True
        values = self._of(name)
        if values.count == 0 or values.distinct < 2 or not values.whole_or_clock:
            return False
        if values.within(YEAR_2000_S, YEAR_2100_S) or values.within(1000 * YEAR_2000_S, 1000 * YEAR_2100_S):
            return True
        return self._squeezed[name] in ("time", "timestamp", "ts", "unixtime") and values.least >= 0 and values.rising

    def _time_format(self) -> tuple[str | None, str]:
        name = self._found.get("event_time")
        if name is None:
            return None, ""
        if self._columns[name] == "time":
            return self._table.time_format(name), ""
        values = self._of(name)
        if values.within(1000 * YEAR_2000_S, 1000 * YEAR_2100_S):
            return "epoch_ms", ""
        if values.within(YEAR_2000_S, YEAR_2100_S):
            return "epoch_s", ""
        self._told[name] = "event time: seconds since a moment that the file does not name; taken for 2000-01-01"
        return "seconds_since", "2000-01-01T00:00:00Z"

    def _order(self, time_format: str | None, origin: str) -> tuple[int, float]:
        """(how far behind the highest time so far a row lies, rows a day), in the sample."""
        if time_format is None:
            return 0, 0.0
        times, there = times_of(self._sample.column(self._found["event_time"]), time_format, origin)
        times = times[there]
        if not len(times):
            return 0, 0.0
        days = max(1.0, float(times.max() - times.min()) / 86_400_000)
        return int((np.maximum.accumulate(times) - times).max()), len(times) / days

    def _rest(self) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """Further numbers, texts of few values, and of many; the others are told of and left out."""
        numeric, categories, texts = [], [], []
        for name, kind in self._columns.items():
            if name in self._told:
                continue
            why = self._why_not(name)
            if why is not None:
                self._told[name] = f"left out: {why}"
            elif kind == "number":
                numeric.append(name)
                self._told[name] = "a number that models look at"
            elif self._of(name).distinct <= CATEGORY_VALUES_MAX:
                categories.append(name)
                self._told[name] = f"a category of {self._of(name).distinct} values"
            else:
                texts.append(name)
                self._told[name] = f"left out: text of {self._of(name).distinct:,} values in the sample"
        return tuple(numeric), tuple(categories), tuple(texts)

    def _why_not(self, name: str) -> str | None:
        values, words = self._of(name), set(words_of(name))
        if values.count == 0:
            return "no value"
        if values.distinct == 1:
            return "always the same"
        if LEAKS & words or (self._found.get("label") and {"class", "target"} & words):
            return "its name speaks of the truth"
        if self._columns[name] == "time":
            return "another time"
        if self._columns[name] != "number":
            return None
        if not values.within(-NUMERIC_ABS_MAX, NUMERIC_ABS_MAX):
            return f"some numbers are beyond ± {NUMERIC_ABS_MAX:.0e}"
        if words & {"id", "zip", "zipcode", "postcode", "phone", "unnamed", "index"}:
            return "its name is that of an id"
        if values.rising and values.distinct > CATEGORY_VALUES_MAX:
            return "it runs with the rows: a counter or a clock"
        times = {"day", "days", "hour", "seconds", "datetime", "timestamp", "unix"}
        if values.rising and times & words:
            return "it runs with the rows: a clock"
        return None


class _Values:
    """A sample column: `count` of values, `distinct` ones, `least` and `greatest` of numbers."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        self._some = column.combine_chunks().drop_null()
        self.count = len(self._some)
        self.distinct = int(pc.count_distinct(self._some).as_py())
        self.is_number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
        numbers = self._some.cast(pa.float64()).to_numpy(zero_copy_only=False) if self.is_number else np.empty(0)
        self.least = float(numbers.min()) if len(numbers) else 0.0
        self.greatest = float(numbers.max()) if len(numbers) else 0.0
        self.rising = len(numbers) > 1 and bool((np.diff(numbers) >= 0).all())
        self.whole_or_clock = self.is_number

    def within(self, least: float, greatest: float) -> bool:
        """Whether there are numbers, all of them in these bounds."""
        return self.is_number and self.count > 0 and least <= self.least and self.greatest <= greatest

    def card_numbers(self) -> float:
        """Share of the values that are 13 to 19 digits passing the check, of a thousand of them."""
        if not self.count or (self.is_number and self.greatest < 10**12):
            return 0.0
        texts = [re.sub(r"[ -]", "", text) for text in as_text(self._some.slice(0, 1000)).to_pylist()]
        good = sum(text.isdigit() and 13 <= len(text) <= DIGITS_MAX and passes_luhn(text) for text in texts)
        return good / len(texts)


def _named(squeezed: str, pattern: str) -> bool:
    if "*" not in pattern:
        return squeezed == pattern
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), squeezed) is not None


def settings_for(table: Table, config: Path | None, label: str | None) -> tuple[Any, Roles, str]:
    """(settings, roles, what is told): from `config` where it is given, else from the guess."""
    from detector.lab.roles_toml import settings_for as found

    return found(table, config, label)
