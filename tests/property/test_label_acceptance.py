"""Law: msgspec and pydantic accept the same labels, a label's fate depends on its record alone, no value is shown."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from detector.codec import screen
from detector.codec.hashing import hash_text
from detector.codec.labels import LabelDecoder
from schemas.base import PAYLOAD_BYTES_MAX
from schemas.dead_letter import RejectReason
from schemas.label import Label
from schemas.mapping import Mapping
from tests.property.test_decode_acceptance import JUNK

VALID = {
    "transaction_id": '"t-1"', "event_time": "1700000000000", "is_fraud": "true", "card_id": '"c-1"', "scenario": '"x"',
}  # fmt: skip
DECODER = LabelDecoder(Mapping())
NAMES = st.sampled_from([*VALID, "extra", "Is_Fraud"])
QUIET = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    fields = dict(VALID)
    for name in draw(st.lists(st.sampled_from(sorted(VALID)), max_size=3)):
        fields.pop(name, None)
    items = list(fields.items())
    for _ in range(draw(st.integers(0, 2))):
        items.insert(draw(st.integers(0, len(items))), (draw(NAMES), draw(st.sampled_from(JUNK))))
    text = "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in items) + "}"
    return draw(st.sampled_from(["", " ", "\n"])).join(["", text, ""]).encode("utf-8", "surrogatepass")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(documents()))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        what = draw(st.integers(0, 2))
        if what == 0 and data:
            data[place] = draw(st.integers(0, 255))
        elif what == 1:
            del data[place:]
        else:
            data[place:place] = draw(st.binary(max_size=3))
    return bytes(data)


def accepted_by_pydantic(payload: bytes) -> bool:
    if screen.fault(payload, PAYLOAD_BYTES_MAX) is not None:
        return False
    try:
        Label.model_validate_json(payload)
    except ValidationError:
        return False
    return True


@QUIET
@given(st.one_of(documents(), damaged()))
def test_law_label_acceptance(payload: bytes) -> None:
    found = DECODER.decode([payload], np.zeros(1, np.int64))
    assert len(found.labels) + len(found.rejects) == 1
    if found.labels.identity.size:
        assert accepted_by_pydantic(payload)
        label = Label.model_validate_json(payload)
        assert found.labels.identity[0] == hash_text(label.transaction_id)
        assert found.labels.is_fraud[0] == label.is_fraud
        assert found.labels.event_time_ms[0] == label.event_time
    elif accepted_by_pydantic(payload):  # names given twice, at first wrongly: what pydantic overlooks
        assert found.rejects[0].reason in (RejectReason.REPEATED_FIELD, RejectReason.NOT_JSON)
    assert all("c-1" not in reject.message and "t-1" not in reject.message for reject in found.rejects)


@QUIET
@given(st.lists(st.one_of(st.none(), documents(), damaged()), max_size=8))
def test_law_labels_of_a_batch_are_those_of_its_records(payloads: list[bytes | None]) -> None:
    together = DECODER.decode(payloads, np.zeros(len(payloads), np.int64))
    alone = [DECODER.decode([payload], np.zeros(1, np.int64)) for payload in payloads]
    assert together.labels.identity.tolist() == [one for each in alone for one in each.labels.identity.tolist()]
    assert together.labels.is_fraud.tolist() == [one for each in alone for one in each.labels.is_fraud.tolist()]
    reasons = [(index, each.rejects[0].reason) for index, each in enumerate(alone) if each.rejects]
    assert [(reject.record, reject.reason) for reject in together.rejects] == reasons


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"is_fraud": "1"}, RejectReason.WRONG_TYPE, "is_fraud"),
        ({"is_fraud": None}, RejectReason.MISSING_FIELD, "is_fraud"),
        ({"transaction_id": '""'}, RejectReason.EMPTY, "transaction_id"),
        ({"transaction_id": "12"}, RejectReason.WRONG_TYPE, "transaction_id"),
        ({"event_time": "17"}, RejectReason.OUT_OF_RANGE, "event_time"),
        ({"event_time": "1700000000000.5"}, RejectReason.WRONG_TYPE, "event_time"),
        ({"more": "1"}, RejectReason.WRONG_TYPE, ""),
    ],
)
def test_rejects_name_reason_and_field(changes: dict[str, str | None], reason: RejectReason, field: str) -> None:
    fields = {name: value for name, value in (VALID | changes).items() if value is not None}
    payload = ("{" + ",".join(f'"{name}":{value}' for name, value in fields.items()) + "}").encode()
    (reject,) = DECODER.decode([payload], np.zeros(1, np.int64)).rejects
    assert (reject.reason, reject.field) == (reason, field)


def test_tombstones_are_neither() -> None:
    found = DECODER.decode([None, None], np.zeros(2, np.int64))
    assert not len(found.labels)
    assert not found.rejects


def test_a_label_from_the_far_future_is_none() -> None:
    """Measured against the record's own timestamp, where that is known; unless nothing is to be checked."""
    day_ms, written_ms = 86_400_000, 1_700_000_000_000
    times = [written_ms + day_ms, written_ms + day_ms + 1, written_ms + day_ms + 1]
    payloads = [json.dumps({"transaction_id": f"t{at}", "event_time": at, "is_fraud": True}).encode() for at in times]
    written = np.array([written_ms, written_ms, -1])
    found = DECODER.decode(payloads, written)
    assert found.labels.event_time_ms.tolist() == [times[0], times[2]]
    assert [(one.record, one.reason, one.field) for one in found.rejects] == [
        (1, RejectReason.TIME_AHEAD, "event_time")
    ]
    assert len(LabelDecoder(Mapping(event_time_ahead_max="")).decode(payloads, written).labels) == 3
