"""Why a record is refused: pydantic names every fault, we name the first as the reject's reason and field.

Law: no value of the input appears in a message; types, lengths, limits and the mapping's own paths do. Slow path: tens
of microseconds a record, spent on rejects alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import msgspec
import pydantic_core
from pydantic import ValidationError

from detector.codec import screen
from detector.codec.shape import Branch, Leaf, build, leaves, pydantic_model, raw_type
from schemas.dead_letter import RejectReason
from schemas.mapping import Mapping

FAULTS_SHOWN_MAX = 5
_WRONG_TYPE = (
    "string_type",
    "int_type",
    "float_type",
    "model_type",
    "model_attributes_type",
    "int_from_float",
    "none_required",
)
_UNIT_OF = {"epoch_ms": 1, "epoch_s": 1000}
_UNITS = (("seconds", 1000.0), ("milliseconds", 1.0), ("microseconds", 1e-3), ("nanoseconds", 1e-6))


@dataclass(frozen=True, slots=True)
class Fault:
    """Reason code, path of the field at fault ("" for the record as a whole), what was expected and found."""

    reason: RejectReason
    field: str
    message: str


class Explainer:
    """Judges single payloads by pydantic. Accepts what `Decoder.decode` accepts, and says why for the rest."""

    def __init__(self, mapping: Mapping) -> None:
        self._mapping = mapping
        self._tree = build(mapping)
        self._model = pydantic_model(self._tree, mapping)
        self._leaf = {leaf.path: leaf for leaf in leaves(self._tree)}
        self._raw: dict[str, msgspec.json.Decoder[Any]] = {}

    def explain(self, payload: bytes) -> Fault | None:
        """The fault of one payload; None where it is accepted."""
        found = screen.fault(payload, self._mapping.bounds.payload_bytes_max)
        if found is not None:
            return Fault(found[0], "", found[1])
        try:
            named = self._project(payload, self._tree)
        except msgspec.ValidationError:
            return Fault(RejectReason.NOT_OBJECT, "", f"expected a JSON object, found {_kind_of_json(payload)}")
        except msgspec.DecodeError as error:
            return self._not_json(payload, error)
        try:
            self._model.model_validate_json(named)
        except ValidationError as error:
            return self._fault(error)
        return None

    def unexplained(self, payload: bytes, error: Exception) -> Fault:
        """The fault of a payload that msgspec refuses and pydantic accepts: a field given twice, at first wrongly."""
        path = str(error).rpartition("`$.")[2].rstrip("`") if "`$." in str(error) else ""
        path = path if path in self._leaf else ""
        if _repeats(payload):
            return Fault(RejectReason.REPEATED_FIELD, path, "expected each field once, found one twice, wrongly typed")
        return Fault(RejectReason.NOT_JSON, path, "expected JSON as in RFC 8259")

    def _project(self, payload: bytes | msgspec.Raw, branch: Branch) -> bytes:
        """The payload cut down to the fields that the mapping names, as JSON; a repeated field's last value counts.

        Fields left out are checked for syntax by the same code that passes over them in the hot path.
        """
        decoder = self._raw.setdefault(branch.path, msgspec.json.Decoder(raw_type(branch)))
        record = decoder.decode(payload)
        parts = []
        for index, (name, child) in enumerate(branch.children.items()):
            raw = getattr(record, f"f{index}")
            if len(bytes(raw)) == 0:
                continue
            value = bytes(raw)
            if isinstance(child, Branch) and value.lstrip()[:1] == b"{":
                value = self._project(raw, child)
            parts.append(json.dumps(name).encode() + b":" + value)
        return b"{" + b",".join(parts) + b"}"

    def _not_json(self, payload: bytes, error: Exception) -> Fault:
        try:
            pydantic_core.from_json(payload)  # takes NaN and Infinity, which many writers emit though JSON has none
        except ValueError:
            return Fault(RejectReason.NOT_JSON, "", f"expected JSON: {_position(error)}")
        try:
            self._model.model_validate_json(payload)
        except ValidationError as found:
            fault = self._fault(found)
            if fault.reason is RejectReason.NOT_FINITE:
                return fault
        return Fault(
            RejectReason.NOT_FINITE, "", "expected finite numbers, found NaN or Infinity, which JSON does not have"
        )

    def _fault(self, error: ValidationError) -> Fault:
        """All faults in one message; of a field's several errors (a union's) the one that is not about type counts."""
        by_path: dict[str, Fault] = {}
        for detail in error.errors(include_url=False, include_context=True):
            fault = self._describe(detail)
            known = by_path.get(fault.field)
            if known is None or known.reason is RejectReason.WRONG_TYPE:
                by_path[fault.field] = fault
        faults = list(by_path.values())
        first = faults[0]
        shown = [f"{fault.field}: {fault.message}" if fault.field else fault.message for fault in faults]
        more = f"; and {len(faults) - FAULTS_SHOWN_MAX} more" if len(faults) > FAULTS_SHOWN_MAX else ""
        return Fault(first.reason, first.field, "; ".join(shown[:FAULTS_SHOWN_MAX]) + more)

    def _describe(self, detail: Any) -> Fault:
        node, path = self._place(detail["loc"])
        code, value = detail["type"], detail["input"]
        wanted = self._wanted(node)
        if code == "json_invalid":  # well-formed, so it can only be an integer longer than pydantic reads
            return Fault(RejectReason.OUT_OF_RANGE, path, "expected numbers of at most 4300 digits, found a longer one")
        if code == "missing":
            return Fault(RejectReason.MISSING_FIELD, path, f"expected {wanted}, found no such field")
        if code in _WRONG_TYPE:
            return Fault(RejectReason.WRONG_TYPE, path, f"expected {wanted}, found {_kind(value)}")
        if code == "finite_number":
            return Fault(RejectReason.NOT_FINITE, path, f"expected {wanted}, found one that is not finite in 64 bits")
        if code == "string_too_short":
            return Fault(RejectReason.EMPTY, path, f"expected {wanted}, found an empty text")
        is_time = isinstance(node, Leaf) and "event_time" in node.columns
        if code == "string_too_long":
            reason = RejectReason.BAD_TIME if is_time else RejectReason.TOO_LONG
            return Fault(reason, path, f"expected {wanted}, found {_kind(value)}")
        if is_time:
            if code == "value_error":  # our own reader's words
                return Fault(RejectReason.BAD_TIME, path, str(detail["ctx"]["error"]))
            return Fault(RejectReason.BAD_TIME, path, f"expected {wanted}, found {self._unit(value)}")
        if code in ("greater_than_equal", "less_than_equal", "less_than"):
            side = "below" if code == "greater_than_equal" else "above"
            return Fault(RejectReason.OUT_OF_RANGE, path, f"expected {wanted}, found one {side} that")
        return Fault(RejectReason.WRONG_TYPE, path, f"expected {wanted}, found {_kind(value)}")

    def _place(self, loc: tuple[int | str, ...]) -> tuple[Leaf | Branch, str]:
        """Follows a pydantic location down the tree; what lies past a leaf names a member of its union."""
        node: Leaf | Branch = self._tree
        for part in loc:
            if isinstance(node, Leaf) or part not in node.children:
                break
            node = node.children[str(part)]
        return node, node.path

    def _wanted(self, node: Leaf | Branch) -> str:
        if isinstance(node, Branch):
            return "an object"
        if node.kind == "id":
            other = "" if self._mapping.is_canonical else ", or an integer of 64 bits"
            return f"a text of 1 to {self._mapping.bounds.id_characters_max} characters{other}"
        if node.kind == "time":
            return f"a time written as {self._mapping.time_format}"
        noun = "an integer" if node.kind == "integer" else "a number"
        if "event_time" in node.columns:
            bounds = self._mapping.bounds
            return f"{noun}, {self._mapping.time_format}, from {bounds.event_time_min} up to {bounds.event_time_max}"
        return f"{noun} from {node.least:g} to {node.greatest:g}"

    def _unit(self, value: Any) -> str:
        """A time's likely unit, where another one than declared would bring it within bounds."""
        unit_ms = _UNIT_OF.get(self._mapping.time_format)
        bounds = self._mapping.bounds
        if unit_ms is not None and isinstance(value, int | float):
            for name, scale in (
                ("seconds", 1000.0),
                ("milliseconds", 1.0),
                ("microseconds", 1e-3),
                ("nanoseconds", 1e-6),
            ):
                if scale != unit_ms and bounds.event_time_min_ms <= value * scale < bounds.event_time_max_ms:
                    return f"one outside that would fit in {name}: check [input] time_format"
        return "one outside"


def _kind(value: Any) -> str:
    """What a value is, without the value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int):
        return "an integer"
    if isinstance(value, float):
        return "a number with a fraction"
    if isinstance(value, str):
        return f"a text of {len(value)} characters"
    return "a list" if isinstance(value, list) else "an object"


def _kind_of_json(payload: bytes) -> str:
    first = payload.lstrip(b" \t\r\n")[:1]
    named = {b"[": "a list", b'"': "a text", b"n": "null", b"t": "a boolean", b"f": "a boolean"}
    return named.get(first, "a number")


def _position(error: Exception) -> str:
    """msgspec's words, which name a byte's position and never its value."""
    return str(error).removeprefix("JSON is malformed: ")


def _repeats(payload: bytes) -> bool:
    """Whether any object in the payload names a field twice."""
    found = False

    def pairs(items: list[tuple[str, Any]]) -> None:
        nonlocal found
        found = found or len({name for name, _ in items}) < len(items)

    json.loads(payload, object_pairs_hook=pairs, parse_int=str)  # Python refuses to read integers past 4300 digits
    return found
