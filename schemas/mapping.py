"""How any topic's JSON becomes transactions: which path holds which role, how time is written, what bounds hold.

Law: the mapping alone says which records are accepted. With nothing given it describes the canonical `Transaction`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from schemas.base import (
    AMOUNT_MAX,
    EVENT_TIME_MAX_MS,
    EVENT_TIME_MIN_MS,
    ID_CHARACTERS_MAX,
    NUMERIC_ABS_MAX,
    PAYLOAD_BYTES_MAX,
    Message,
)
from schemas.times import EPOCH, duration_ms, pattern_ms, rfc3339_ms, rfc3339_text
from schemas.transaction import Transaction

Role = Literal[
    "transaction_id", "event_time", "card_id", "customer_id", "merchant_id", "terminal_id", "device_id", "ip",
    "country", "mcc", "channel", "currency", "amount", "lat", "lon",
]  # fmt: skip
ROLES: tuple[Role, ...] = get_args(Role)
ID_ROLES: tuple[Role, ...] = tuple(role for role in ROLES if role not in ("event_time", "amount", "lat", "lon"))

CANONICAL_FIELDS: dict[Role, str] = {role: role for role in ROLES}
CANONICAL_REQUIRED: tuple[Role, ...] = tuple(role for role in ROLES if Transaction.model_fields[role].is_required())
NUMERIC_FORMATS = ("epoch_ms", "epoch_s", "seconds_since")


class Bounds(Message):
    """What a value may be. A record outside is a dead letter."""

    amount_min: float = Field(default=0.0, description="Least amount, in units of currency; negative with refunds.")
    amount_max: float = Field(default=AMOUNT_MAX, description="Greatest amount, in units of currency.")
    numeric_abs_max: float = Field(default=NUMERIC_ABS_MAX, gt=0, description="Greatest magnitude of a numeric column.")
    id_characters_max: int = Field(
        default=ID_CHARACTERS_MAX, ge=1, le=65_536, description="Greatest length of an id, in characters."
    )
    event_time_min: str = Field(
        default=rfc3339_text(EVENT_TIME_MIN_MS), description="Earliest event time, RFC 3339, inclusive."
    )
    event_time_max: str = Field(
        default=rfc3339_text(EVENT_TIME_MAX_MS), description="Latest event time, RFC 3339, exclusive."
    )
    payload_bytes_max: int = Field(
        default=PAYLOAD_BYTES_MAX, ge=16, le=1_048_576, description="Greatest size of a record's value, in bytes."
    )

    @field_validator("event_time_min", "event_time_max")
    @classmethod
    def _is_time(cls, text: str) -> str:
        rfc3339_ms(text)
        return text

    @model_validator(mode="after")
    def _in_order(self) -> Bounds:
        faults = []
        if self.amount_min > self.amount_max:
            faults.append(f"amount_min: expected at most amount_max ({self.amount_max}), found {self.amount_min}")
        if self.event_time_min_ms >= self.event_time_max_ms:
            latest, found = self.event_time_max, self.event_time_min
            faults.append(f"event_time_min: expected a time before event_time_max ({latest}), found {found}")
        if faults:
            raise ValueError("\n".join(faults))
        return self

    @property
    def event_time_min_ms(self) -> int:
        """Earliest event time, milliseconds since 1970-01-01T00:00:00Z."""
        return rfc3339_ms(self.event_time_min)

    @property
    def event_time_max_ms(self) -> int:
        """First millisecond that is too late."""
        return rfc3339_ms(self.event_time_max)


class Mapping(Message):
    """The `[input]` table of detector.toml, as far as it concerns the records themselves."""

    fields: dict[Role, str] = Field(
        default_factory=lambda: dict(CANONICAL_FIELDS),
        description="Role = path of the field in your JSON; dots go into nested objects, `\\.` is a dot in a name. "
        "Once given, only the roles named are there; an empty path means not there. Without `event_time` the record's "
        "own timestamp serves. Not given: the canonical transaction.",
    )
    numeric: dict[str, str] = Field(
        default_factory=dict,
        description="Further numeric columns: name = path, or a list of paths that serve as their own names. With the "
        "canonical transaction a list holds names under `features`.",
    )
    required: tuple[Role, ...] = Field(
        default=(),
        description="Roles without which a record is a dead letter, besides event_time. Not given: what the canonical "
        "transaction requires; none where [input.fields] is given.",
    )
    time_format: str = Field(
        default="epoch_ms",
        description="How event_time is written: `epoch_ms` (integer), `epoch_s`, `seconds_since` (numbers), `rfc3339` "
        "(text), or a strptime pattern such as `%Y-%m-%d %H:%M:%S`, read as UTC.",
    )
    time_origin: str = Field(default="", description="Zero of `seconds_since`, RFC 3339.")
    event_time_ahead_max: str = Field(
        default="1d",
        description="How far event time, a label's too, may lie ahead of the record's own timestamp, such as 90s or "
        "1d; empty for no check.",
    )
    bounds: Bounds = Field(default_factory=Bounds, description="What values may be.")

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        """Spells out what a short declaration means, before any type is checked."""
        if not isinstance(values, dict):
            return values
        values = dict(values)
        canonical = values.get("fields") is None
        if canonical:
            values.pop("fields", None)
            values.setdefault("required", CANONICAL_REQUIRED)
        elif isinstance(values["fields"], dict):
            values["fields"] = {role: path for role, path in values["fields"].items() if path != ""}
        numeric = values.get("numeric")
        if isinstance(numeric, list | tuple) and all(isinstance(path, str) for path in numeric):
            prefix = "features." if canonical else ""
            values["numeric"] = {path: prefix + path for path in numeric}
        if isinstance(values.get("required"), list):
            values["required"] = tuple(values["required"])
        return values

    @field_validator("time_format")
    @classmethod
    def _is_format(cls, text: str) -> str:
        if text in (*NUMERIC_FORMATS, "rfc3339"):
            return text
        if "%" not in text:
            raise ValueError(
                f"expected {', '.join(NUMERIC_FORMATS)}, rfc3339 or a strptime pattern with %, found {text!r}"
            )
        try:
            pattern_ms(EPOCH.strftime(text), text)
        except ValueError as error:
            raise ValueError(f"expected a strptime pattern that reads back what it writes, found {text!r}") from error
        return text

    @field_validator("event_time_ahead_max")
    @classmethod
    def _is_duration(cls, text: str) -> str:
        if text:
            duration_ms(text)
        return text

    @model_validator(mode="after")
    def _is_consistent(self) -> Mapping:
        faults = [*self._origin_faults()]
        mapped = ", ".join(self.fields) or "none"
        faults += [
            f"required: expected roles that fields maps ({mapped}), found {role}"
            for role in self.required
            if role not in self.fields
        ]
        columns = [("fields." + role, self.kind(role), path) for role, path in self.fields.items()]
        columns += [("numeric." + name, "a number", path) for name, path in self.numeric.items()]
        faults += _path_faults(columns)
        for role, other in (("lat", "lon"), ("lon", "lat")):
            if role in self.fields and other not in self.fields:
                faults.append(f"fields.{role}: expected fields.{other} beside it, for a place takes both, found none")
        if faults:
            raise ValueError("\n".join(faults))
        return self

    def _origin_faults(self) -> Iterator[str]:
        if self.time_format != "seconds_since":
            if self.time_origin:
                yield f"time_origin: expected none with {self.time_format}, for only seconds_since counts from it"
        elif not self.time_origin:
            yield "time_origin: expected one beside time_format seconds_since, such as 2013-09-01T00:00:00Z, found none"
        else:
            try:
                rfc3339_ms(self.time_origin)
            except ValueError as error:
                yield f"time_origin: {error}, found {self.time_origin!r}"

    @property
    def time_ahead_max_ms(self) -> int:
        """How far event time may lie ahead of the record's timestamp, milliseconds; 0 for no check."""
        return duration_ms(self.event_time_ahead_max) if self.event_time_ahead_max else 0

    @property
    def time_origin_ms(self) -> int:
        """Zero of the event time, milliseconds since 1970-01-01T00:00:00Z."""
        return rfc3339_ms(self.time_origin) if self.time_origin else 0

    @property
    def is_canonical(self) -> bool:
        """Whether the records are canonical transactions, whose ids are text and nothing else."""
        return self.fields == CANONICAL_FIELDS

    def kind(self, role: str) -> str:
        """What a role's value is read as: a text, a number, or a time."""
        if role == "event_time":
            return "a number" if self.time_format in NUMERIC_FORMATS else "a time"
        return "a text" if role in ID_ROLES else "a number"

    def is_required(self, role: str) -> bool:
        """Whether a record without this role is a dead letter. Event time always is, where it is mapped."""
        return role == "event_time" or role in self.required

    @classmethod
    def from_toml(cls, path: Path) -> Mapping:
        """Reads the `[input]` table of a detector.toml and leaves out what concerns the detector alone.

        Raises OSError, tomllib.TOMLDecodeError, pydantic.ValidationError.
        """
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("input", {})
        return cls.model_validate({key: value for key, value in table.items() if key in cls.model_fields})


def split_path(path: str) -> tuple[str, ...]:
    """`a.b` → `("a", "b")`; a dot after a backslash belongs to the name."""
    return tuple(part.replace("\\.", ".") for part in re.split(r"(?<!\\)\.", path))


def is_readable(part: str) -> bool:
    """Whether records are read by this name: one that JSON must escape (a quote, a backslash, a control) is not."""
    return not any(letter in '"\\' or letter < " " for letter in part)


def _path_faults(columns: list[tuple[str, str, str]]) -> Iterator[str]:
    """Empty or unreadable parts, paths through another path's value, those read as two kinds, one line each.

    `columns` holds (place, kind, path).
    """
    leaves: dict[tuple[str, ...], tuple[str, str]] = {}
    for place, kind, path in columns:
        parts = split_path(path)
        if not all(parts):
            yield f"{place}: expected a path such as amount or payment.amount, found {path!r}"
            continue
        if not all(map(is_readable, parts)):
            yield f"{place}: expected a path without quotes, backslashes and controls, found {path!r}"
            continue
        other = leaves.setdefault(parts, (place, kind))
        if other[1] != kind:
            yield f"{place}: expected {kind} at {path!r}, but {other[0]} reads {other[1]} there"
    for parts, (place, _) in leaves.items():
        through = next((parts[:depth] for depth in range(1, len(parts)) if parts[:depth] in leaves), None)
        if through is not None:
            yield f"{place}: expected an object at {'.'.join(through)!r}, but {leaves[through][0]} reads a value there"
