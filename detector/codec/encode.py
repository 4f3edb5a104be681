"""Decisions → messages: alerts, decisions, dead letters.

Laws: a rerun gives equal bytes (no clock, no random source, fields in a fixed order); no card number leaves in what we
write ourselves; a dead letter's key, value and headers are the input's own, ours come after them.
Sources: CloudEvents 1.0.2 with its Kafka protocol binding (binary mode), W3C Trace Context, KIP-1034.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import numpy as np

from detector.codec.decode import Reject
from detector.codec.hashing import hash_text
from detector.codec.masking import holds_card_number, mask
from detector.codec.reasons import sentences
from detector.codec.shape import Branch, build, struct_type, time_reader
from detector.core.batch import DecisionBatch, Verdict
from detector.core.spec import Spec
from schemas.alert import Reason, Subject
from schemas.dead_letter import (
    EXCEPTION_HEADER,
    FIELD_HEADER,
    MESSAGE_HEADER,
    OFFSET_HEADER,
    PARTITION_HEADER,
    REASON_HEADER,
    TOPIC_HEADER,
)
from schemas.mapping import Mapping
from schemas.times import rfc3339_text

Headers = Sequence[tuple[str, bytes | None]]

ALERT_TYPE = "detector.alert.v1"
DECISION_TYPE = "detector.decision.v1"
REJECT_EXCEPTION = "detector.codec.decode.Reject"
SUBJECT_ROLES = tuple(Subject.model_fields)
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class OutMessage:
    """One message to produce; headers as confluent-kafka takes them."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


class Encoder:
    """Builds the messages of one input topic. Reads only the payloads of published rows, a second time."""

    def __init__(self, mapping: Mapping, spec: Spec, topic: str, application_id: str = "fraud-detector") -> None:
        tree = build(mapping)
        self._mapping = mapping
        self._spec = spec
        self._topic = topic
        self._application_id = application_id
        self._tree = tree
        self._decode = msgspec.json.Decoder(struct_type(tree, mapping)).decode
        self._read_time = time_reader(mapping)
        self._json = msgspec.json.Encoder().encode
        self._fingerprint = spec.fingerprint()
        self._members = member_names(spec)

    def alert(
        self,
        payload: bytes,
        partition: int,
        offset: int,
        decisions: DecisionBatch,
        row: int,
        headers: Headers | None,
        *,
        key: bytes | None = None,
        event_time_ms: int | None = None,
    ) -> OutMessage:
        """The alert of `row`, whose input record is `payload` at `partition`, `offset`, with its own `headers`, `key`.

        `event_time_ms` saves reading it again, and is needed where the mapping has none. Raises ValueError where it is
        needed and not given, msgspec.DecodeError for a payload that `Decoder` would refuse.
        """
        values = self._values(payload)
        amount = values.get("amount")
        currency = None if values.get("currency") is None else mask(values["currency"])
        evidence = decisions.reasons.get(row, ())
        reasons = sentences(self._spec, evidence, math.nan if amount is None else amount, currency)
        common = self._common("alert_id", partition, offset, decisions, row, values, event_time_ms)
        subject = {role: None if values.get(role) is None else mask(values[role]) for role in SUBJECT_ROLES}
        body = {
            **common,
            **subject,
            "reasons": [_masked(reason) for reason in reasons],
            "amount": amount,
            "currency": currency,
        }
        return self._message(ALERT_TYPE, "alerts", body, common, values, key, headers)

    def decision(
        self,
        payload: bytes,
        partition: int,
        offset: int,
        decisions: DecisionBatch,
        row: int,
        headers: Headers | None,
        *,
        key: bytes | None = None,
        event_time_ms: int | None = None,
    ) -> OutMessage:
        """The published decision of `row`; arguments and errors as `alert`."""
        values = self._values(payload)
        body = self._common("decision_id", partition, offset, decisions, row, values, event_time_ms)
        return self._message(DECISION_TYPE, "decisions", body, body, values, key, headers)

    def dead_letter(
        self,
        payload: bytes | None,
        key: bytes | None,
        headers: Headers | None,
        partition: int,
        offset: int,
        reject: Reject,
    ) -> OutMessage:
        """The record untouched, with the fault in added headers; readers take the last header of each name."""
        added = [
            (EXCEPTION_HEADER, REJECT_EXCEPTION),
            (MESSAGE_HEADER, mask(reject.message)),
            (TOPIC_HEADER, self._topic),
            (PARTITION_HEADER, str(partition)),
            (OFFSET_HEADER, str(offset)),
            (REASON_HEADER, reject.reason.value),
            (FIELD_HEADER, mask(reject.field)),
        ]
        return OutMessage(key, payload, [*(headers or ()), *((name, text.encode()) for name, text in added)])

    def _values(self, payload: bytes) -> dict[str, Any]:
        """Role → value of one payload; ids as text, None where absent."""
        found: dict[str, Any] = {}
        _collect(self._tree, self._decode(payload), found)
        return found

    def _common(
        self,
        id_name: str,
        partition: int,
        offset: int,
        decisions: DecisionBatch,
        row: int,
        values: dict[str, Any],
        event_time_ms: int | None,
    ) -> dict[str, Any]:
        """What alerts and decisions share, in the order of the JSON."""
        record_id = f"{self._topic}-{partition}-{offset}"
        transaction_id = values.get("transaction_id")
        return {
            id_name: record_id,
            "transaction_id": record_id if transaction_id is None else mask(transaction_id),
            "event_time": self._event_time_ms(values) if event_time_ms is None else int(event_time_ms),
            "verdict": Verdict(int(decisions.verdict[row])).name.lower(),
            "risk_score": float(decisions.risk[row]),
            "scores": {name: float(score) for name, score in zip(self._members, decisions.score[:, row], strict=True)},
            "late": bool(decisions.late[row]),
            "source": {"topic": self._topic, "partition": partition, "offset": offset},
            "spec_fingerprint": self._fingerprint,
            "model_version": int(decisions.model_version[row]),
        }

    def _event_time_ms(self, values: dict[str, Any]) -> int:
        value = values.get("event_time")
        if value is None:
            raise ValueError("expected event_time_ms, since no field is mapped to event_time; found none")
        if isinstance(value, str):
            return self._read_time(value)
        if self._mapping.time_format == "epoch_ms":
            return int(value)
        return int(np.rint(value * 1000.0)) + self._mapping.time_origin_ms

    def _message(
        self,
        kind: str,
        role: str,
        body: dict[str, Any],
        common: dict[str, Any],
        values: dict[str, Any],
        key: bytes | None,
        headers: Headers | None,
    ) -> OutMessage:
        event_id = cast(str, next(iter(common.values())))
        out: list[tuple[str, bytes | None]] = [
            ("ce_specversion", b"1.0"),
            ("ce_id", event_id.encode()),
            ("ce_source", f"/{self._application_id}/{role}".encode()),
            ("ce_type", kind.encode()),
            ("ce_time", rfc3339_text(common["event_time"]).encode()),
            ("content-type", b"application/json"),
        ]
        traceparent = next((value for name, value in reversed(headers or ()) if name == "traceparent"), None)
        if traceparent is not None and _is_trace(traceparent):
            out.append(("traceparent", traceparent))
        return OutMessage(self._key(values, key), self._json(body), out)

    def _key(self, values: dict[str, Any], key: bytes | None) -> bytes | None:
        """The masked card id; else 16 hex digits of the input key's hash, which keep the order without the key."""
        if values.get("card_id") is not None:
            return mask(values["card_id"]).encode()
        if key is None:
            return None
        return f"{hash_text(key.decode('utf-8', 'backslashreplace')):016x}".encode()


def _is_trace(traceparent: bytes) -> bool:
    """Whether this is a W3C traceparent without a card number in its ids.

    Ids are random hex digits: four in a thousand traceparents are dropped because a run of digits in them passes the
    Luhn check by chance, which costs the alert its link to the trace and nothing else.
    """
    if not _TRACEPARENT.fullmatch(traceparent):
        return False
    ids = traceparent.decode().split("-")[1:3]
    return not any(mask(one) != one or (one.isdigit() and holds_card_number(one)) for one in ids)


def member_names(spec: Spec) -> tuple[str, ...]:
    """Names of the scores of members and trained heads: the kind, with a number from the second of a kind on."""
    names: list[str] = []
    for member in (*spec.members, *(spec.heads.trained if spec.heads is not None else ())):
        seen = sum(name.split(".")[0] == member.kind for name in names)
        names.append(member.kind if seen == 0 else f"{member.kind}.{seen + 1}")
    return tuple(names)


def _collect(branch: Branch, record: Any, found: dict[str, Any]) -> None:
    for value, child in zip(msgspec.structs.astuple(record), branch.children.values(), strict=True):
        if isinstance(child, Branch):
            if value is not None:
                _collect(child, value, found)
        elif value is not None and value != "" and value == value:  # NaN is a number that is absent
            for column in child.columns:
                found[column] = str(value) if child.kind == "id" else value


def _masked(reason: Reason) -> dict[str, Any]:
    """A reason without card numbers: neither in its text, nor as the value of a numeric column that holds them."""
    fields = reason.model_dump()
    digits = f"{reason.value:.0f}" if reason.feature.startswith("numeric.") and reason.value is not None else ""
    if mask(digits) != digits:
        return fields | {"text": f"{mask(reason.feature)} is unusual; it looks like a card number", "value": None}
    return fields | {"text": mask(reason.text), "feature": mask(reason.feature)}
