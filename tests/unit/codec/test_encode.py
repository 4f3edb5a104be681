"""What leaves is deterministic, follows its schema, and holds no card number."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import numpy as np
import pytest

from detector.codec.decode import Reject
from detector.codec.encode import Encoder, OutMessage, member_names
from detector.codec.hashing import hash_text
from detector.core.batch import DecisionBatch, ReasonEvidence, Verdict
from detector.core.spec import KEY_ROLES, Decision, Entity, HalfSpaceTrees, Spec, parse_feature
from schemas.alert import Alert
from schemas.dead_letter import DeadLetter, RejectReason
from schemas.decision import Decision as DecisionMessage
from schemas.generate import documents
from schemas.mapping import Mapping

CARD = "4111111111111111"
TIME_MS = 1_700_000_000_123
TRANSACTION = {
    "transaction_id": f"t-{CARD}", "event_time": TIME_MS, "card_id": CARD, "customer_id": f"u {CARD}",
    "merchant_id": "4111-1111-1111-1111", "amount": 412.0, "currency": "EUR", "terminal_id": CARD, "mcc": "5411",
    "channel": CARD, "country": "FR", "ip": "10.0.0.1", "device_id": CARD, "features": {"v1": 1.0},
}  # fmt: skip
FEATURES = ("amount", "card.amount_to_mean.30d", "card.count.1h", "numeric.v1")
SPEC = Spec(
    keys=KEY_ROLES,
    numeric=("v1",),
    entities=(Entity("card", "card"),),
    features=tuple(parse_feature(name) for name in FEATURES),
    members=(HalfSpaceTrees(),),
    decision=Decision(),
)
MAPPING = Mapping(numeric=["v1"])
TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def decisions(verdict: Verdict = Verdict.ALERT, value: float = 8.3) -> DecisionBatch:
    evidence = (
        ReasonEvidence(1, value, 49.6, 0.001, 0.2, 3.0),
        ReasonEvidence(3, float(CARD[:15]), np.nan, 0.002, 0.0, 1.0),
    )
    return DecisionBatch(
        score=np.array([[0.25, 0.987654321]]),
        risk=np.array([1.0, 998.7654321]),
        verdict=np.array([Verdict.PASS, verdict], np.int8),
        late=np.array([False, True]),
        features=np.zeros((2, len(FEATURES))),
        reasons={1: evidence},
        model_version=np.array([0, 7]),
    )


def encoder(mapping: Mapping = MAPPING, spec: Spec = SPEC) -> Encoder:
    return Encoder(mapping, spec, "transactions", "fraud-detector")


def alert(document: dict[str, Any] = TRANSACTION, **changes: Any) -> OutMessage:
    headers = changes.pop("headers", [("traceparent", TRACE), ("secret", CARD.encode())])
    return encoder().alert(json.dumps(document).encode(), 3, 42, decisions(), 1, headers, **changes)


def test_an_alert_follows_its_schema_and_says_where_it_comes_from() -> None:
    message = alert()
    body = json.loads(message.value or b"")
    Alert.model_validate(body)
    jsonschema.validate(body, json.loads(documents()["alert.schema.json"]))
    assert list(body)[:4] == ["alert_id", "transaction_id", "event_time", "verdict"]
    assert body["alert_id"] == "transactions-3-42"
    assert body["source"] == {"topic": "transactions", "partition": 3, "offset": 42}
    assert (body["event_time"], body["verdict"], body["late"]) == (TIME_MS, "alert", True)
    assert (body["risk_score"], body["scores"]) == (998.7654321, {"half_space_trees": 0.987654321})
    assert (body["amount"], body["currency"], body["country"]) == (412.0, "EUR", "FR")
    assert (body["spec_fingerprint"], body["model_version"]) == (SPEC.fingerprint(), 7)
    assert body["reasons"][0]["feature"] == "card.amount_to_mean.30d"
    assert "49.60" in body["reasons"][0]["text"]


def test_no_card_number_leaves_in_key_value_or_headers() -> None:
    message = alert()
    parts = [
        message.key,
        message.value,
        *(value for _, value in message.headers),
        *(n.encode() for n, _ in message.headers),
    ]
    digits = "".join(letter for letter in b" ".join(part or b"" for part in parts).decode() if letter not in " -,")
    assert CARD not in digits
    assert message.key == b"************1111"
    assert json.loads(message.value or b"")["merchant_id"] == "****-****-****-1111"


def test_a_card_number_in_a_numeric_column_does_not_leave_in_a_reason() -> None:
    given = decisions()
    given.reasons[1] = (ReasonEvidence(3, 378282246310005.0, np.nan, 0.0, 0.0, 1.0),)
    value = encoder().alert(json.dumps(TRANSACTION).encode(), 0, 0, given, 1, None).value or b""
    assert b"378282246310005" not in value
    assert b"378,282" not in value


def test_cloudevents_headers() -> None:
    headers = dict(alert().headers)
    assert headers == {
        "ce_specversion": b"1.0",
        "ce_id": b"transactions-3-42",
        "ce_source": b"/fraud-detector/alerts",
        "ce_type": b"detector.alert.v1",
        "ce_time": b"2023-11-14T22:13:20.123Z",
        "content-type": b"application/json",
        "traceparent": TRACE,
    }


@pytest.mark.parametrize("value", [b"", CARD.encode(), TRACE + b"0", b"\xff", None])
def test_a_traceparent_that_is_none_is_not_passed_on(value: bytes | None) -> None:
    assert "traceparent" not in dict(alert(headers=[("traceparent", value)]).headers)
    assert "traceparent" not in dict(alert(headers=None).headers)


@pytest.mark.parametrize(
    "ids",
    [
        "41111111111111114111111111111111-4111111111111111",
        "0af7651916cd43dd8448eb211c80319c-4111111111111111",
        "00000000000000004111111111111111-b7ad6b7169203331",
        "aaaaaaaa4111111111111111bbbbbbbb-b7ad6b7169203331",
    ],
)
def test_a_traceparent_that_holds_a_card_number_is_not_passed_on(ids: str) -> None:
    message = alert(headers=[("traceparent", f"00-{ids}-01".encode())])
    assert "traceparent" not in dict(message.headers)
    assert not any(CARD in str(part) for part in (message.key, message.value, message.headers))


def test_a_rerun_gives_equal_bytes() -> None:
    assert alert() == alert()
    assert alert(event_time_ms=TIME_MS) == alert()


def test_the_bytes_of_an_alert_are_pinned() -> None:
    given = decisions()
    given.reasons = {}
    spec = Spec(KEY_ROLES, (), (), (), (HalfSpaceTrees(),), Decision())
    value = encoder(Mapping(), spec).alert(json.dumps(TRANSACTION).encode(), 3, 42, given, 1, None).value or b""
    assert value.replace(spec.fingerprint().encode(), b"FINGERPRINT") == (
        b'{"alert_id":"transactions-3-42","transaction_id":"t-************1111","event_time":1700000000123,'
        b'"verdict":"alert","risk_score":998.7654321,"scores":{"half_space_trees":0.987654321},"late":true,'
        b'"source":{"topic":"transactions","partition":3,"offset":42},"spec_fingerprint":"FINGERPRINT","model_version":7,'
        b'"card_id":"************1111","customer_id":"u ************1111","merchant_id":"****-****-****-1111",'
        b'"terminal_id":"************1111","device_id":"************1111","ip":"10.0.0.1","country":"FR","mcc":"5411",'
        b'"channel":"************1111","reasons":[{"code":"nothing_known","text":"nothing that the models look at is '
        b'known of this transaction, which few transactions have in common","feature":"","value":null,"baseline":null,'
        b'"rarity":null}],"amount":412.0,"currency":"EUR"}'
    )


def test_a_decision_follows_its_schema() -> None:
    for verdict in Verdict:
        message = encoder().decision(json.dumps(TRANSACTION).encode(), 3, 42, decisions(verdict), 1, None)
        body = json.loads(message.value or b"")
        DecisionMessage.model_validate(body)
        assert (body["decision_id"], body["verdict"]) == ("transactions-3-42", verdict.name.lower())
        headers = dict(message.headers)
        assert (headers["ce_source"], headers["ce_type"]) == (b"/fraud-detector/decisions", b"detector.decision.v1")


def test_without_a_card_the_key_is_a_hash_of_the_input_key() -> None:
    mapping = Mapping(fields={"event_time": "t"})
    spec = Spec((), (), (), (), (HalfSpaceTrees(), HalfSpaceTrees()), Decision())
    given = decisions()
    given.score = np.vstack([given.score, given.score])
    given.reasons = {}
    payload = json.dumps({"t": TIME_MS}).encode()
    message = Encoder(mapping, spec, "in").alert(payload, 0, 5, given, 1, None, key=CARD.encode())
    assert message.key == f"{hash_text(CARD):016x}".encode()
    body = json.loads(message.value or b"")
    Alert.model_validate(body)
    assert body["transaction_id"] == body["alert_id"] == "in-0-5"
    assert (body["amount"], body["card_id"]) == (None, None)
    assert Encoder(mapping, spec, "in").alert(payload, 0, 5, given, 1, None).key is None


def test_without_an_event_time_it_must_be_given() -> None:
    mapping = Mapping(fields={"amount": "a"})
    spec = Spec((), (), (), (), (HalfSpaceTrees(),), Decision())
    given = decisions()
    given.reasons = {}
    out = Encoder(mapping, spec, "in")
    with pytest.raises(ValueError, match="event_time_ms"):
        out.alert(b'{"a": 1}', 0, 5, given, 1, None)
    value = out.alert(b'{"a": 1}', 0, 5, given, 1, None, event_time_ms=TIME_MS).value or b""
    assert json.loads(value)["event_time"] == TIME_MS


@pytest.mark.parametrize(
    ("payload", "key", "headers"),
    [
        (b"\xff\x00", b"\xfe", [("x", b"\xff"), ("x", None), ("__streams.errors.topic", b"older")]),
        (b"", None, None),
    ],
)
def test_a_dead_letter_keeps_all_and_adds_the_fault(
    payload: bytes, key: bytes | None, headers: list[tuple[str, bytes | None]] | None
) -> None:
    reject = Reject(0, RejectReason.WRONG_TYPE, "pay.sum", f"pay.sum: expected a number, found {CARD}")
    message = encoder().dead_letter(payload, key, headers, 3, 42, reject)
    assert (message.key, message.value) == (key, payload)
    assert message.headers[: len(headers or [])] == list(headers or [])
    read = DeadLetter.from_headers(message.headers)
    assert (read.topic, read.partition, read.offset) == ("transactions", 3, 42)
    assert (read.reason, read.field) == (RejectReason.WRONG_TYPE, "pay.sum")
    assert read.exception.endswith("Reject")
    assert read.message == "pay.sum: expected a number, found ************1111"


def test_members_of_one_kind_are_numbered() -> None:
    spec = Spec((), (), (), (), (HalfSpaceTrees(), HalfSpaceTrees(trees=3)), Decision())
    assert member_names(spec) == ("half_space_trees", "half_space_trees.2")
