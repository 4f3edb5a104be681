"""Law: msgspec and pydantic accept the same set, and a record's fate does not depend on its batch.

Documents are built as text, so that the tests can write what no JSON library would: literals such as NaN, numbers with
thousands of digits, names given twice, broken escapes, broken UTF-8.
"""

from __future__ import annotations

import dataclasses
import json
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from detector.codec.decode import Decoded, Decoder
from detector.codec.explain import Explainer
from detector.codec.shape import KEY_ROLE_FIELDS
from detector.core.spec import KEY_ROLES, Decision, Spec
from schemas.dead_letter import RejectReason
from schemas.mapping import Mapping
from schemas.transaction import Transaction

MAPPINGS = {
    "canonical": Mapping(),
    "canonical with numeric": Mapping(numeric=["v1", "v2"]),
    "nested": Mapping(
        fields={
            "event_time": "when.at",
            "amount": "pay.sum",
            "card_id": "pay.card.id",
            "lat": "geo.lat",
            "lon": "geo.lon",
        },
        numeric={"score": "geo.score", "sum": "pay.sum"},
        required=["amount"],
        time_format="epoch_s",
    ),
    "rfc3339": Mapping(fields={"event_time": "t", "customer_id": "c", "merchant_id": "c"}, time_format="rfc3339"),
    "pattern": Mapping(fields={"event_time": "t", "amount": "TX AMOUNT"}, time_format="%Y-%m-%d %H:%M:%S"),
    "seconds since": Mapping(
        fields={"event_time": "Time", "amount": "Amount"},
        numeric=["Time", "V.1"],
        time_format="seconds_since",
        time_origin="2013-09-01T00:00:00Z",
    ),
    "record time": Mapping(fields={"amount": "a"}),
}
VALID = {
    "canonical": {
        "transaction_id": '"t-1"', "event_time": "1700000000000", "card_id": '"c-1"', "customer_id": '"u-1"',
        "merchant_id": '"m-1"', "amount": "12.5", "currency": '"EUR"', "terminal_id": '"x"', "mcc": '"5411"',
        "channel": '"pos"', "country": '"FR"', "lat": "48.1", "lon": "2.2", "ip": '"10.0.0.1"', "device_id": '"d"',
        "features": '{"v1": 1.5, "v2": -3}',
    },
    "nested": {
        "when": '{"at": 1700000000.25}', "pay": '{"sum": 3, "card": {"id": 77}}',
        "geo": '{"lat": 1, "lon": 2, "score": 3}',
    },
    "rfc3339": {"t": '"2023-11-14T22:13:20.5+01:00"', "c": '"u"'},
    "pattern": {"t": '"2023-11-14 22:13:20"', "TX AMOUNT": "9"},
    "seconds since": {"Time": "12.5", "Amount": "1", "V": '{"1": 3}'},
    "record time": {"a": "1"},
}  # fmt: skip
VALID["canonical with numeric"] = VALID["canonical"]
RECORD_TIME_MS = 1_700_000_000_000

JUNK = (
    "null", "true", "false", "0", "-0", "-1", "1", "1.0", "1e3", "1E400", "-1e999", "NaN", "Infinity", "-Infinity",
    "01", "1.", ".5", "+1", "0x1", "1e12", "1000000000001", "1e15", "-1e15", "1000000000000001", "1" * 30, "1" * 5000,
    "0." + "1" * 5000, "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809",
    "90", "90.0000001", "-180", "181", "946684800000", "946684799999", "4102444800000", "4102444799999", "946684800",
    "946684799.9995", "4102444799.9995", "1700000000", "1700000000000000", "-62135596800000", "1700000000000.5", '""',
    '"x"', '" "', '"12.5"', '"1700000000000"', '"' + "x" * 256 + '"', '"' + "x" * 257 + '"', '"' + "é" * 256 + '"',
    '"' + "😀" * 256 + '"', '"' + "😀" * 257 + '"', '"' + "x" * 10_000 + '"', r'"\u0000"', r'"\u001f"', r'"\ud800"',
    r'"\udcff"', r'"\ud83d\ude00"', r'"\ud83d\u0041"', r'"\x"', r'"\u12"', '"a\nb"', '"a\x7fb"', '"\ufeff"', "[]",
    "{}", "[1, [2]]", '{"v1": "x"}', '{"v1": null}', '{"at": null}', '{"sum": 1, "card": null}',
    '{"sum": 1, "card": {}}', '{"sum": 1, "card": 5}', '{"sum": null}', '{"id": true}', "[" * 300,
    "[" * 70 + "]" * 70, "[" * 63 + "]" * 63, "[" * 64 + "]" * 64, '"' + "{" * 100 + '"', '{"a": NaN}',
    '{"a": 1e999}', '"0001-01-01T00:00:00Z"', '"2023-02-30T00:00:00Z"', '"2023-11-14T22:13:20"',
    '"2023-11-14t22:13:20z"', '"2023-W01-1"', '"1999-12-31T23:59:59.999Z"', '"2000-01-01T00:00:00+00:01"',
    '"2099-12-31T23:59:59.9999Z"', '"2100-01-01 00:00:00"', '"2016-12-31T23:59:60Z"', '"2023-11-14T22:13:20+24:00"',
    '"2023-11-14 22:13:20"', '"2023-11-14 22:13:2"', '"' + "2" * 65 + '"', "", " ", "x", ",", '"', "tru", "1 2",
)  # fmt: skip


@cache
def judges(name: str) -> tuple[Decoder, Explainer]:
    mapping = MAPPINGS[name]
    keys = tuple(role for role in KEY_ROLES if KEY_ROLE_FIELDS[role] in mapping.fields)
    spec = Spec(keys, tuple(mapping.numeric), (), (), (), Decision())
    return Decoder(mapping, spec), Explainer(mapping)


def decode(name: str, payloads: list[bytes | None]) -> Decoded:
    """Decodes with no record time where a field gives the event time, so that no time lies ahead of it."""
    count = len(payloads)
    record_time_ms = -1 if "event_time" in MAPPINGS[name].fields else RECORD_TIME_MS
    return judges(name)[0].decode(payloads, np.arange(count), np.full(count, record_time_ms))


def text_of(pairs: list[tuple[str, str]]) -> bytes:
    inner = ",".join(f"{json.dumps(key)}:{value}" for key, value in pairs)
    return ("{" + inner + "}").encode("utf-8", "surrogatepass")


@st.composite
def documents(draw: st.DrawFn, name: str, repeat: bool = False) -> bytes:
    """A valid document with up to three fields changed, dropped, added or, if so asked, given twice."""
    pairs = list(VALID[name].items())
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(pairs) - 1)) if pairs else 0
        value = draw(st.sampled_from(JUNK))
        change = draw(st.sampled_from(("set", "drop", "add", "twice") if repeat else ("set", "drop", "add")))
        if change == "add" or not pairs:
            pairs.insert(place, (draw(st.sampled_from(("zzz", "aaa", "Amount.x", "\u2028"))) + str(len(pairs)), value))
        elif change == "set":
            pairs[place] = (pairs[place][0], value)
        elif change == "drop":
            del pairs[place]
        else:
            pairs.insert(draw(st.integers(0, len(pairs))), (pairs[place][0], value))
    return text_of(pairs)


@st.composite
def damaged(draw: st.DrawFn, name: str) -> bytes:
    """A document with bytes cut out, put in or overwritten."""
    payload = bytearray(draw(documents(name)))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, max(0, min(len(payload), 2_000) - 1)))
        stop = min(len(payload), start + draw(st.integers(0, 4)))
        payload[start:stop] = draw(
            st.one_of(st.binary(max_size=3), st.sampled_from((b'"', b"\xc3", b"\xff", b"\xef\xbb\xbf")))
        )
    return bytes(payload)


def agree(name: str, payload: bytes) -> None:
    decoded = decode(name, [payload])
    fault = judges(name)[1].explain(payload)
    if len(decoded.batch):
        assert fault is None, f"msgspec accepts, pydantic says {fault}"
    else:
        [reject] = decoded.rejects
        assert fault is not None, f"pydantic accepts, we said {reject}"
        assert (reject.reason, reject.field) == (fault.reason, fault.field)


ATOMS = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5)
NAMES = st.sampled_from(list(VALID["canonical"]))
JSON_VALUES = st.recursive(ATOMS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4))
anything = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("name", MAPPINGS)
@anything
@given(data=st.data())
def test_law_decode_acceptance_documents(name: str, data: st.DataObject) -> None:
    agree(name, data.draw(documents(name)))


@pytest.mark.parametrize("name", MAPPINGS)
@anything
@given(data=st.data())
def test_law_decode_acceptance_damaged_bytes(name: str, data: st.DataObject) -> None:
    payload = data.draw(damaged(name))
    if decode(name, [payload]).rejects[:1] and _names_repeat(payload):  # damage can make a name equal another
        return
    agree(name, payload)


@anything
@given(payload=st.binary(max_size=40) | JSON_VALUES.map(lambda value: json.dumps(value).encode()))
@example(b"").via("no bytes")
@example(b" \n\t").via("white space")
@example(b"\xef\xbb\xbf{}").via("byte order mark")
@example(b'{"a":' * 5_000 + b"1" + b"}" * 5_000).via("deep nesting")
@example(b'{"a":"' + b"x" * 1_000_000 + b'"}').via("a megabyte")
def test_law_decode_acceptance_anything(payload: bytes) -> None:
    agree("canonical", payload)
    agree("nested", payload)


@pytest.mark.parametrize("name", ["canonical", "nested"])
@pytest.mark.parametrize("junk", JUNK)
def test_law_decode_acceptance_every_junk_in_every_field(name: str, junk: str) -> None:
    for field in [*VALID[name], "unmapped"]:
        agree(name, text_of(list((VALID[name] | {field: junk}).items())))


@pytest.mark.parametrize("name", MAPPINGS)
@anything
@given(data=st.data())
def test_law_decode_acceptance_of_names_given_twice(name: str, data: st.DataObject) -> None:
    """Of a name given twice pydantic reads the last value, msgspec judges the types of all: it accepts no more."""
    payload = data.draw(documents(name, repeat=True))
    decoded = decode(name, [payload])
    fault = judges(name)[1].explain(payload)
    if len(decoded.batch):
        assert fault is None
    else:
        [reject] = decoded.rejects
        assert (reject.reason is RejectReason.REPEATED_FIELD) == (fault is None)


@anything
@given(payload=documents("canonical"))
def test_law_decode_acceptance_is_that_of_the_published_model(payload: bytes) -> None:
    """Fields beyond the model may hold what pydantic's parser refuses; of its own fields it is as strict as we are."""
    pairs = [(key, value) for key, value in json.loads(payload, object_pairs_hook=list)] if _is_json(payload) else None
    if pairs is None or any(key not in Transaction.model_fields for key, _ in pairs):
        return
    features = dict(pairs).get("features")
    if "features" in dict(pairs) and features is None:
        return  # the model has no null there; undeclared features are not judged when decoding
    try:
        Transaction.model_validate_json(payload)
        accepted = True
    except ValidationError as error:
        if all(detail["loc"][:1] == ("features",) for detail in error.errors()):
            return
        accepted = False
    assert bool(len(decode("canonical", [payload]).batch)) == accepted


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), name=st.sampled_from(sorted(MAPPINGS)), copies=st.sampled_from((1, 200)))
def test_law_decode_of_a_batch_is_that_of_its_records(data: st.DataObject, name: str, copies: int) -> None:
    some = data.draw(st.lists(st.one_of(st.none(), documents(name), damaged(name)), max_size=6))
    payloads = some * copies
    together = decode(name, payloads)
    assert together.tombstones == payloads.count(None)
    assert sorted([*together.record.tolist(), *(reject.record for reject in together.rejects)]) == [
        index for index, payload in enumerate(payloads) if payload is not None
    ]
    assert together.batch.offset.tolist() == together.record.tolist()
    alone = {payload: decode(name, [payload]) for payload in some if payload is not None}
    for row, index in enumerate(together.record.tolist()):
        expected = alone[payloads[index]].batch
        for column in dataclasses.fields(together.batch):
            if column.name not in ("offset", "identity"):  # none without labels
                found, wanted = getattr(together.batch, column.name)[..., row], getattr(expected, column.name)[..., 0]
                np.testing.assert_array_equal(found, wanted, err_msg=column.name)
    for reject in together.rejects:
        [wanted_reject] = alone[payloads[reject.record]].rejects
        assert dataclasses.replace(reject, record=0) == wanted_reject


def _is_json(payload: bytes) -> bool:
    try:
        return isinstance(json.loads(payload), dict)
    except (ValueError, RecursionError):
        return False


def _names_repeat(payload: bytes) -> bool:
    def pairs(items: list[tuple[str, object]]) -> object:
        if len({name for name, _ in items}) < len(items):
            raise KeyError
        return dict(items)

    try:
        json.loads(payload, object_pairs_hook=pairs)
    except KeyError:
        return True
    except (ValueError, RecursionError):
        return False
    return False
