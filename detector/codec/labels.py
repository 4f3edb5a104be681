"""Label payloads → columns. msgspec accepts, pydantic explains rejects; both judge by `schemas.label.Label`.

Law: both accept the same set, and a label's fate depends on its record alone. A transaction's id hashes to the identity
that `decode` gives the transaction.

A label from the far future is refused as such a transaction is: others would wait behind it for their turn, and an
entity's history would age to its time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from detector.codec import screen
from detector.codec.decode import Reject, told_ahead
from detector.codec.hashing import hash_columns
from detector.core.labels import LabelBatch
from schemas.base import EVENT_TIME_MAX_MS, EVENT_TIME_MIN_MS, ID_CHARACTERS_MAX, PAYLOAD_BYTES_MAX
from schemas.dead_letter import RejectReason
from schemas.label import Label
from schemas.mapping import Mapping

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=ID_CHARACTERS_MAX)]
_Time = Annotated[int, msgspec.Meta(ge=EVENT_TIME_MIN_MS, lt=EVENT_TIME_MAX_MS)]


class _Label(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """As `schemas.label.Label`; a test holds the one to the other."""

    transaction_id: _Id
    event_time: _Time
    is_fraud: bool
    card_id: _Id | None = None
    scenario: _Id | None = None


_REASONS = {
    "missing": (RejectReason.MISSING_FIELD, "expected a value, found no such field"),
    "string_too_short": (RejectReason.EMPTY, "expected a text, found an empty one"),
    "string_too_long": (RejectReason.TOO_LONG, f"expected at most {ID_CHARACTERS_MAX} characters, found more"),
    "extra_forbidden": (RejectReason.WRONG_TYPE, "expected no such field: a label has those of the schema alone"),
    "greater_than_equal": (RejectReason.OUT_OF_RANGE, "expected a later time, in milliseconds since 1970"),
    "less_than": (RejectReason.OUT_OF_RANGE, "expected an earlier time, in milliseconds since 1970"),
}


@dataclass(slots=True)
class DecodedLabels:
    """Columns of the accepted labels, in order, and the rejects in the order of the payloads.

    A null value (a tombstone) is neither.
    """

    labels: LabelBatch
    rejects: list[Reject]


class LabelDecoder:
    """Decodes payloads of the labels topic. Holds no state of a stream, so one serves all partitions."""

    def __init__(self, mapping: Mapping) -> None:
        self._mapping = mapping
        self._decode = msgspec.json.Decoder(_Label).decode
        screen.suspects([b"{}"], PAYLOAD_BYTES_MAX)
        hash_columns([("warm",)])

    def decode(self, payloads: Sequence[bytes | None], record_time_ms: NDArray[np.int64]) -> DecodedLabels:
        """Accepted labels as columns; the others as rejects. `record_time_ms` int64 (n,), the records' own timestamps,
        below 1 where there is none.

        Never raises on input.
        """
        assert len(record_time_ms) == len(payloads), "a timestamp a payload"
        ahead_max_ms = self._mapping.time_ahead_max_ms
        present = [(record, payload) for record, payload in enumerate(payloads) if payload is not None]
        refused = (
            set(screen.suspects([payload for _, payload in present], PAYLOAD_BYTES_MAX).tolist()) if present else {}
        )
        ids: list[str] = []
        times: list[int] = []
        truths: list[bool] = []
        rejects = []
        for index, (record, payload) in enumerate(present):
            found = screen.fault(payload, PAYLOAD_BYTES_MAX) if index in refused else None
            if found is not None:
                rejects.append(Reject(record, found[0], "", found[1]))
                continue
            try:
                label = self._decode(payload)
            except msgspec.DecodeError as error:
                rejects.append(_explained(record, payload, error))
                continue
            written_ms = int(record_time_ms[record])
            if ahead_max_ms and 0 < written_ms < label.event_time - ahead_max_ms:
                told = told_ahead(self._mapping, written_ms, label.event_time)
                rejects.append(Reject(record, RejectReason.TIME_AHEAD, "event_time", told))
                continue
            ids.append(label.transaction_id)
            times.append(label.event_time)
            truths.append(label.is_fraud)
        identity = hash_columns([ids])[0] if ids else np.empty(0, np.uint64)
        return DecodedLabels(
            LabelBatch(identity, np.array(truths, np.bool_), np.array(times, np.int64)),
            rejects,
        )


def _explained(record: int, payload: bytes, error: msgspec.DecodeError) -> Reject:
    """The first fault that pydantic finds; no value of the input in the message."""
    if not isinstance(error, msgspec.ValidationError):
        if not payload.strip(b" \t\r\n"):
            return Reject(record, RejectReason.EMPTY, "", "expected a JSON object, found nothing")
        words = str(error).removeprefix("JSON is malformed: ")
        return Reject(record, RejectReason.NOT_JSON, "", f"expected JSON as in RFC 8259: {words}")
    try:
        Label.model_validate_json(payload)
    except ValidationError as found:
        detail = found.errors(include_url=False, include_context=False, include_input=False)[0]
        field = str(detail["loc"][0]) if detail["loc"] else ""
        if not field:
            return Reject(record, RejectReason.NOT_OBJECT, "", "expected a JSON object")
        known = field if field in Label.model_fields else ""
        reason, told = _REASONS.get(detail["type"], (RejectReason.WRONG_TYPE, _wanted(str(detail["msg"]))))
        return Reject(record, reason, known, told)
    return Reject(record, RejectReason.REPEATED_FIELD, "", "expected each field once, found one twice, wrongly typed")


def _wanted(message: str) -> str:
    """pydantic's words on a type: `Input should be a valid boolean` → `expected a valid boolean`."""
    return "expected " + message.removeprefix("Input should be ")
