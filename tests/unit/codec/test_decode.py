"""Payloads become columns; what is wrong with the others is said without quoting them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from detector.codec.decode import Decoded, Decoder
from detector.codec.hashing import hash_text
from detector.core.spec import KEY_ROLES, Decision, Labels, Spec
from schemas.dead_letter import RejectReason
from schemas.mapping import Mapping

TIME_MS = 1_700_000_000_123
VALID: dict[str, Any] = {
    "transaction_id": "t-1", "event_time": TIME_MS, "card_id": "c-1", "customer_id": "u-1", "merchant_id": "m-1",
    "amount": 12.5, "currency": "EUR",
}  # fmt: skip


def spec_of(mapping: Mapping, keys: tuple[str, ...]) -> Spec:
    return Spec(keys, tuple(mapping.numeric), (), (), (), Decision())


def decode(
    documents: list[Any], mapping: Mapping | None = None, keys: tuple[str, ...] = KEY_ROLES, record_time_ms: int = -1
) -> Decoded:
    mapping = mapping or Mapping()
    payloads = [item if item is None or isinstance(item, bytes) else json.dumps(item).encode() for item in documents]
    times = np.full(len(payloads), record_time_ms)
    return Decoder(mapping, spec_of(mapping, keys)).decode(payloads, np.arange(100, 100 + len(payloads)), times)


def test_identities_are_what_a_label_calls_the_transactions() -> None:
    mapping = Mapping()
    spec = replace(spec_of(mapping, ("card",)), labels=Labels())
    nameless = Mapping(fields={"event_time": "event_time", "transaction_id": "id"})
    payloads = [json.dumps(row).encode() for row in ({"event_time": TIME_MS}, {"event_time": TIME_MS, "id": 17})]
    found = Decoder(nameless, replace(spec, keys=()), "pay").decode(
        [b"broken", *payloads], np.arange(5, 8), np.full(3, -1), np.array([0, 2, 1])
    )
    assert found.batch.identity.tolist() == [hash_text("pay-2-6"), hash_text("17")]
    named = Decoder(mapping, spec).decode([json.dumps(VALID).encode()], np.arange(1), np.full(1, -1), 3)
    assert named.batch.identity.tolist() == [hash_text("t-1")]
    without = Decoder(Mapping(fields={"event_time": "event_time"}), replace(spec, keys=()), "pay")
    assert without.decode(payloads, np.arange(2), np.full(2, -1), 4).batch.identity.tolist() == [
        hash_text("pay-4-0"),
        hash_text("pay-4-1"),
    ]


def test_columns_have_the_shapes_and_types_of_the_contract() -> None:
    whole = VALID | {"lat": 48, "lon": 2.5, "ip": "10.0.0.1", "device_id": "d", "features": {"v1": 3, "other": "text"}}
    decoded = decode([VALID, None, whole], Mapping(numeric=["v1"]))
    batch = decoded.batch
    assert decoded.tombstones == 1
    assert decoded.record.tolist() == [0, 2]
    assert batch.offset.tolist() == [100, 102]
    assert batch.event_time_ms.tolist() == [TIME_MS, TIME_MS]
    assert batch.amount.tolist() == [12.5, 12.5]
    np.testing.assert_array_equal(batch.latitude, [np.nan, 48.0])
    np.testing.assert_array_equal(batch.longitude, [np.nan, 2.5])
    np.testing.assert_array_equal(batch.numeric, [[np.nan, 3.0]])
    assert batch.key[:, 1].tolist() == [
        hash_text(text) for text in ("c-1", "u-1", "m-1", "", "d", "10.0.0.1", "", "", "", "EUR")
    ]
    types = {name: getattr(batch, name).dtype for name in batch.__slots__}
    assert types.pop("key") == types.pop("identity") == np.uint64
    assert types.pop("offset") == types.pop("event_time_ms") == decoded.record.dtype == np.int64
    assert set(types.values()) == {np.dtype(np.float64)}
    assert batch.key.flags.c_contiguous
    assert batch.numeric.flags.c_contiguous


def test_an_empty_batch_and_one_of_rejects_alone_have_no_rows() -> None:
    assert len(decode([]).batch) == 0
    decoded = decode([b"", b"[]", None])
    assert (len(decoded.batch), len(decoded.record), decoded.tombstones) == (0, 0, 1)
    assert decoded.batch.key.shape == (len(KEY_ROLES), 0)


@pytest.mark.parametrize(
    ("change", "reason", "field"),
    [
        (b"", RejectReason.EMPTY, ""),
        (b"  \n", RejectReason.EMPTY, ""),
        (b"{", RejectReason.NOT_JSON, ""),
        (b'{"a":1}x', RejectReason.NOT_JSON, ""),
        (b"[1]", RejectReason.NOT_OBJECT, ""),
        (b"null", RejectReason.NOT_OBJECT, ""),
        (b'"4111111111111111"', RejectReason.NOT_OBJECT, ""),
        (b'{"a":"\xff"}', RejectReason.BAD_UTF8, ""),
        (b'{"a":"' + b"x" * 1_000_000 + b'"}', RejectReason.TOO_LARGE, ""),
        (b'{"a":' * 100_000, RejectReason.TOO_LARGE, ""),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, RejectReason.TOO_DEEP, ""),
        ({"card_id": ...}, RejectReason.MISSING_FIELD, "card_id"),
        ({"card_id": None}, RejectReason.WRONG_TYPE, "card_id"),
        ({"card_id": 5}, RejectReason.WRONG_TYPE, "card_id"),
        ({"card_id": ""}, RejectReason.EMPTY, "card_id"),
        ({"card_id": "4111111111111111" * 700}, RejectReason.TOO_LONG, "card_id"),
        ({"amount": "12.50"}, RejectReason.WRONG_TYPE, "amount"),
        ({"amount": True}, RejectReason.WRONG_TYPE, "amount"),
        ({"amount": -0.01}, RejectReason.OUT_OF_RANGE, "amount"),
        ({"amount": 1.1e12}, RejectReason.OUT_OF_RANGE, "amount"),
        ({"amount": float("nan")}, RejectReason.NOT_FINITE, "amount"),
        ({"amount": float("-inf")}, RejectReason.NOT_FINITE, "amount"),
        ({"unmapped": float("nan")}, RejectReason.NOT_FINITE, ""),
        ({"lat": 90.1}, RejectReason.OUT_OF_RANGE, "lat"),
        ({"event_time": 1_700_000_000}, RejectReason.BAD_TIME, "event_time"),
        ({"event_time": 1_700_000_000_123_000}, RejectReason.BAD_TIME, "event_time"),
        ({"event_time": -62_135_596_800_000}, RejectReason.BAD_TIME, "event_time"),
        ({"event_time": 1.5e12 + 0.5}, RejectReason.WRONG_TYPE, "event_time"),
        ({"event_time": "2023-11-14T22:13:20Z"}, RejectReason.WRONG_TYPE, "event_time"),
        ({"features": {"v1": "4111111111111111"}}, RejectReason.WRONG_TYPE, "features.v1"),
        ({"features": {"v1": 1.1e15}}, RejectReason.OUT_OF_RANGE, "features.v1"),
        ({"features": 5}, RejectReason.WRONG_TYPE, "features"),
    ],
)
def test_each_fault_has_its_code_and_field_and_quotes_nothing(
    change: bytes | dict[str, Any], reason: RejectReason, field: str
) -> None:
    document: Any = change
    if isinstance(change, dict):
        document = {name: value for name, value in (VALID | change).items() if value is not ...}
    decoded = decode([VALID, document, VALID], Mapping(numeric=["v1"]))
    [reject] = decoded.rejects
    assert (reject.record, reject.reason, reject.field) == (1, reason, field)
    assert reject.message.startswith(f"{field}: expected " if field else "expected")
    assert "found" in reject.message or ":" in reject.message
    assert "4111" not in reject.message
    assert len(reject.message) < 600
    assert decoded.record.tolist() == [0, 2]


def test_all_faults_of_a_record_are_told_the_first_names_it() -> None:
    [reject] = decode([{"event_time": 5, "amount": "x", "card_id": ""}]).rejects
    assert (reject.reason, reject.field) == (RejectReason.MISSING_FIELD, "transaction_id")
    for field in ("event_time", "card_id", "customer_id"):
        assert f"; {field}: expected" in reject.message
    assert reject.message.endswith("; and 2 more")


@pytest.mark.parametrize(
    ("time", "unit"),
    [(1_700_000_000, "seconds"), (1_700_000_000_000_000, "microseconds"), (1_700_000_000_000_000_000, "nanoseconds")],
)
def test_a_time_in_another_unit_is_recognised(time: int, unit: str) -> None:
    [reject] = decode([VALID | {"event_time": time}]).rejects
    assert f"fit in {unit}" in reject.message


def test_a_time_far_ahead_of_the_record_is_refused_and_an_unknown_record_time_is_no_check() -> None:
    ahead = VALID | {"event_time": TIME_MS + 86_400_001}
    [reject] = decode([VALID, ahead], record_time_ms=TIME_MS).rejects
    assert (reject.record, reject.reason, reject.field) == (1, RejectReason.TIME_AHEAD, "event_time")
    assert decode([ahead], record_time_ms=-1).rejects == decode([ahead], record_time_ms=0).rejects == []
    assert decode([ahead], Mapping(event_time_ahead_max=""), record_time_ms=TIME_MS).rejects == []


@pytest.mark.parametrize(
    ("time_format", "value", "time_ms"),
    [
        ("epoch_s", 1_700_000_000, 1_700_000_000_000),
        ("epoch_s", 1_700_000_000.1234, 1_700_000_000_123),
        ("rfc3339", "2023-11-14T22:13:20Z", 1_700_000_000_000),
        ("rfc3339", "2023-11-14 23:13:20.1239+01:00", 1_700_000_000_123),
        ("%Y-%m-%d %H:%M:%S", "2023-11-14 22:13:20", 1_700_000_000_000),
        ("%d/%m/%Y %H:%M:%S %z", "14/11/2023 22:13:20 -0100", 1_700_003_600_000),
    ],
)
def test_time_formats(time_format: str, value: Any, time_ms: int) -> None:
    mapping = Mapping(fields={"event_time": "at"}, time_format=time_format)
    assert decode([{"at": value}], mapping, ()).batch.event_time_ms.tolist() == [time_ms]
    decoded = decode([{"at": value}, {"at": "no time 4111111111111111"}], mapping, ())
    assert len(decoded.rejects) == 1
    assert "4111" not in decoded.rejects[0].message


def test_seconds_since_an_origin() -> None:
    mapping = Mapping(
        fields={"event_time": "Time", "amount": "Amount"},
        numeric=["Time"],
        time_format="seconds_since",
        time_origin="2013-09-01T00:00:00Z",
    )
    batch = decode([{"Time": 1.5, "Amount": 2}], mapping, ()).batch
    assert batch.event_time_ms.tolist() == [1_377_993_601_500]
    assert batch.numeric.tolist() == [[1.5]]


def test_without_an_event_time_the_record_time_serves() -> None:
    mapping = Mapping(fields={"amount": "a"})
    assert decode([{"a": 1}], mapping, (), record_time_ms=TIME_MS).batch.event_time_ms.tolist() == [TIME_MS]
    [reject] = decode([{"a": 1}], mapping, (), record_time_ms=-1).rejects
    assert (reject.reason, reject.field) == (RejectReason.BAD_TIME, "")


def test_nested_paths_absent_and_null_objects_and_integer_ids() -> None:
    mapping = Mapping(
        fields={"event_time": "at", "card_id": "pay.card.id", "amount": "pay.sum", "merchant_id": r"shop\.id"},
        numeric={"risk": "pay.card.risk"},
    )
    documents = [
        {"at": TIME_MS, "pay": {"card": {"id": 77, "risk": 1}, "sum": 5}, "shop.id": "s"},
        {"at": TIME_MS},
        {"at": TIME_MS, "pay": None},
        {"at": TIME_MS, "pay": {"card": None, "sum": None}, "shop.id": None},
        {"at": TIME_MS, "pay": {"card": {}}},
    ]
    batch = decode(documents, mapping, ("card", "merchant")).batch
    assert batch.key.tolist() == [[hash_text("77"), 0, 0, 0, 0], [hash_text("s"), 0, 0, 0, 0]]
    np.testing.assert_array_equal(batch.amount, [5, *[np.nan] * 4])
    np.testing.assert_array_equal(batch.numeric, [[1, *[np.nan] * 4]])


def test_two_roles_may_share_a_path() -> None:
    mapping = Mapping(fields={"event_time": "t", "card_id": "c", "customer_id": "c"})
    batch = decode([{"t": TIME_MS, "c": "x"}], mapping, ("card", "customer")).batch
    assert batch.key[:, 0].tolist() == [hash_text("x")] * 2


def test_a_spec_that_wants_a_column_that_is_not_mapped_is_refused() -> None:
    mapping = Mapping(fields={"event_time": "t"})
    with pytest.raises(ValueError, match="card_id"):
        Decoder(mapping, spec_of(mapping, ("card",)))


def test_a_field_given_twice_counts_as_its_last_value_and_must_be_well_typed_each_time() -> None:
    text = json.dumps(VALID)[:-1]
    decoded = decode([f'{text}, "amount": 7}}'.encode(), f'{{"amount": "x", {text[1:]}}}'.encode()])
    assert decoded.batch.amount.tolist() == [7.0]
    [reject] = decoded.rejects
    assert (reject.record, reject.reason, reject.field) == (1, RejectReason.REPEATED_FIELD, "amount")


def test_without_the_jit_columns_are_the_same() -> None:
    code = (
        "import json, sys, numpy as np; from detector.codec.decode import Decoder;"
        "from detector.core.spec import *; from schemas.mapping import Mapping;"
        "d = Decoder(Mapping(), Spec(KEY_ROLES, (), (), (), (), Decision()));"
        "b = d.decode([sys.argv[1].encode()], np.arange(1), np.full(1, -1)).batch;"
        "print(json.dumps(b.key[:, 0].tolist()))"
    )
    env = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-W", "error", "-c", code, json.dumps(VALID)]
    found = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout
    assert json.loads(found) == decode([VALID]).batch.key[:, 0].tolist()
