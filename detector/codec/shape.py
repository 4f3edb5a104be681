"""The shape of one topic's JSON, compiled from its mapping into a msgspec type and into a pydantic model.

Law: both are drawn from the same tree of leaves, bounds included, so that they accept the same set. Fields that the
mapping does not name are not judged: msgspec passes over them, and pydantic ignores them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model

from schemas.mapping import ID_ROLES, Mapping, split_path
from schemas.times import pattern_ms, rfc3339_ms

KEY_ROLE_FIELDS = {
    "card": "card_id",
    "customer": "customer_id",
    "merchant": "merchant_id",
    "terminal": "terminal_id",
    "device": "device_id",
    "ip": "ip",
    "country": "country",
    "mcc": "mcc",
    "channel": "channel",
    "currency": "currency",
}
INTEGER_ID_MIN, INTEGER_ID_MAX = -(2**63), 2**63 - 1
TIME_CHARACTERS_MAX = 64


@dataclass(slots=True)
class Leaf:
    """One value to read: the columns it fills, its type and its bounds.

    `kind` is `id`, `number`, `integer` or `time`. Bounds are inclusive, `below` exclusive; for `id` and `time` they do
    not apply.
    """

    path: str
    kind: str
    columns: list[str] = field(default_factory=list)
    required: bool = False
    least: float = -float("inf")
    greatest: float = float("inf")
    below: float = float("inf")


@dataclass(slots=True)
class Branch:
    """An object: its children by name, in the order in which the compiled types hold them."""

    path: str
    children: dict[str, Leaf | Branch] = field(default_factory=dict)

    @property
    def required(self) -> bool:
        """An object is required where anything in it is."""
        return any(child.required for child in self.children.values())


def build(mapping: Mapping) -> Branch:
    """The tree of everything that `mapping` names. Columns are called by role, numeric ones `numeric.NAME`."""
    root = Branch("")
    bounds = mapping.bounds
    for role, path in mapping.fields.items():
        leaf = _leaf(root, path, "id" if role in ID_ROLES else "number")
        leaf.columns.append(role)
        leaf.required |= mapping.is_required(role)
        if role == "amount":
            _narrow(leaf, bounds.amount_min, bounds.amount_max)
        elif role in ("lat", "lon"):
            _narrow(leaf, *((-90.0, 90.0) if role == "lat" else (-180.0, 180.0)))
        elif role == "event_time":
            _narrow_time(leaf, mapping)
    for name, path in mapping.numeric.items():
        leaf = _leaf(root, path, "number")
        leaf.columns.append("numeric." + name)
        _narrow(leaf, -bounds.numeric_abs_max, bounds.numeric_abs_max)
    return root


def leaves(branch: Branch) -> list[Leaf]:
    """All leaves below, depth first: the order in which `decode` lays out its columns."""
    found: list[Leaf] = []
    for child in branch.children.values():
        found += [child] if isinstance(child, Leaf) else leaves(child)
    return found


def time_reader(mapping: Mapping) -> Callable[[str], int]:
    """Text → milliseconds within bounds, for a mapping whose times are text. The reader raises ValueError."""
    least, below = mapping.bounds.event_time_min_ms, mapping.bounds.event_time_max_ms
    pattern = mapping.time_format

    def read(text: str) -> int:
        try:
            time_ms = rfc3339_ms(text) if pattern == "rfc3339" else pattern_ms(text, pattern)
        except ValueError:  # Python's own words quote the text
            raise ValueError(f"expected a time written as {pattern}, found {len(text)} other characters") from None
        if not least <= time_ms < below:
            raise ValueError(
                f"expected a time from {mapping.bounds.event_time_min} up to {mapping.bounds.event_time_max}, "
                f"found one {'before' if time_ms < least else 'after'} that"
            )
        return time_ms

    return read


def struct_type(branch: Branch, mapping: Mapping) -> type[msgspec.Struct]:
    """The msgspec type that accepts. Fields are named f0, f1 … in the order of `children`.

    An optional id that is absent reads as "", an optional number as NaN, an optional object as one with nothing in it;
    an explicit null reads as None.
    """
    fields: list[Any] = []
    rename = {}
    for index, (name, child) in enumerate(branch.children.items()):
        rename[f"f{index}"] = name
        kind: Any
        default: Any
        if isinstance(child, Branch):
            kind = struct_type(child, mapping)
            default = None if child.required else _absent(kind)
        else:
            kind, default = _msgspec_type(child, mapping), "" if child.kind == "id" else math.nan
        if child.required:
            fields.append((f"f{index}", kind))
        elif isinstance(child, Branch):
            fields.append((f"f{index}", kind | None, msgspec.field(default_factory=default)))
        else:
            fields.append((f"f{index}", kind | None, default))
    return msgspec.defstruct("Record", fields, rename=rename, gc=False, kw_only=True)


def raw_type(branch: Branch) -> type[msgspec.Struct]:
    """Like `struct_type`, but takes each value as its bytes: the syntax check that both sides share."""
    fields: list[Any] = [(f"f{index}", msgspec.Raw, msgspec.Raw()) for index in range(len(branch.children))]
    rename = {f"f{index}": name for index, name in enumerate(branch.children)}
    return msgspec.defstruct("RawRecord", fields, rename=rename, gc=False)


def pydantic_model(branch: Branch, mapping: Mapping) -> type[BaseModel]:
    """The model that explains: strict, finite, aliases as in the JSON."""
    fields: dict[str, Any] = {}
    for index, (name, child) in enumerate(branch.children.items()):
        kind: Any = pydantic_model(child, mapping) if isinstance(child, Branch) else _pydantic_type(child, mapping)
        if child.required:
            fields[f"f{index}"] = (kind, Field(alias=name))
        else:
            fields[f"f{index}"] = (kind | None, Field(alias=name, default=None))
    config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)
    return create_model("Record", __config__=config, **fields)


def _leaf(root: Branch, path: str, kind: str) -> Leaf:
    *parents, name = split_path(path)
    branch = root
    for depth, parent in enumerate(parents):
        child = branch.children.setdefault(parent, Branch(".".join(parents[: depth + 1])))
        assert isinstance(child, Branch), "the mapping checks that no path goes through a value"
        branch = child
    leaf = branch.children.setdefault(name, Leaf(path, kind))
    assert isinstance(leaf, Leaf), "the mapping checks that no path ends in an object"
    return leaf


def _narrow(leaf: Leaf, least: float, greatest: float) -> None:
    leaf.least, leaf.greatest = max(leaf.least, least), min(leaf.greatest, greatest)


def _narrow_time(leaf: Leaf, mapping: Mapping) -> None:
    """Bounds of the event time in the unit in which it is written."""
    least, below = mapping.bounds.event_time_min_ms, mapping.bounds.event_time_max_ms
    if mapping.time_format == "epoch_ms":
        leaf.kind = "integer"
    elif mapping.time_format in ("epoch_s", "seconds_since"):
        least, below = least - mapping.time_origin_ms, below - mapping.time_origin_ms
        leaf.least, leaf.below = max(leaf.least, least / 1000), below / 1000
        return
    else:
        leaf.kind = "time"
        return
    leaf.least, leaf.below = max(leaf.least, least), below


def _limits(leaf: Leaf, number: type[int] | type[float]) -> dict[str, Any]:
    limits = {"ge": leaf.least, "le": leaf.greatest, "lt": leaf.below}
    return {name: number(limit) for name, limit in limits.items() if abs(limit) != float("inf")}


def _msgspec_type(leaf: Leaf, mapping: Mapping) -> Any:
    if leaf.kind == "id":
        text: Any = Annotated[str, msgspec.Meta(min_length=1, max_length=mapping.bounds.id_characters_max)]
        if mapping.is_canonical:
            return text
        return text | Annotated[int, msgspec.Meta(ge=INTEGER_ID_MIN, le=INTEGER_ID_MAX)]
    if leaf.kind == "time":
        return Annotated[str, msgspec.Meta(min_length=1, max_length=TIME_CHARACTERS_MAX)]
    number: type[int] | type[float] = int if leaf.kind == "integer" else float
    limits = _limits(leaf, number)
    if "le" in limits and "lt" in limits:  # msgspec takes one upper bound; of the two the smaller binds
        del limits["le" if limits["lt"] <= limits["le"] else "lt"]
    return Annotated[number, msgspec.Meta(**limits)]


def _pydantic_type(leaf: Leaf, mapping: Mapping) -> Any:
    if leaf.kind == "id":
        text: Any = Annotated[str, Field(min_length=1, max_length=mapping.bounds.id_characters_max)]
        if mapping.is_canonical:
            return text
        return text | Annotated[int, Field(ge=INTEGER_ID_MIN, le=INTEGER_ID_MAX)]
    if leaf.kind == "time":
        read = time_reader(mapping)

        def check(text: str) -> str:
            read(text)
            return text

        return Annotated[str, Field(min_length=1, max_length=TIME_CHARACTERS_MAX), AfterValidator(check)]
    number: type[int] | type[float] = int if leaf.kind == "integer" else float
    return Annotated[number, Field(**_limits(leaf, number))]


def _absent(kind: type[msgspec.Struct]) -> Callable[[], msgspec.Struct]:
    """One shared instance with nothing in it: it is read only."""
    nothing = kind()
    return lambda: nothing
