"""The models are strict and documented, and the files generated from them do not drift."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from pydantic import ValidationError

from schemas.base import Message
from schemas.dead_letter import REASON_HELP, DeadLetter, RejectReason
from schemas.generate import FOLDER, MODELS, documents
from schemas.label import Label
from schemas.topics import ADDED_HEADERS_BYTES_MAX, SNAPSHOT_CHUNK_BYTES_MAX, TOPICS, markdown
from schemas.transaction import Transaction

VALID = {
    "transaction_id": "t", "event_time": 1_700_000_000_000, "card_id": "c", "customer_id": "u", "merchant_id": "m",
    "amount": 1, "currency": "EUR",
}  # fmt: skip


def test_schema_files_are_those_of_the_models() -> None:
    on_disk = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    assert on_disk == documents(), "run: python -m schemas.generate"


@pytest.mark.parametrize("name", sorted(documents()))
def test_schema_files_are_valid_and_describe_every_field(name: str) -> None:
    schema = json.loads(documents()[name])
    jsonschema.Draft202012Validator.check_schema(schema)
    for part in [schema, *schema.get("$defs", {}).values()]:
        for field, described in part.get("properties", {}).items():
            assert described.get("description"), f"{name}: {field} has no description"


@pytest.mark.parametrize("model", MODELS)
def test_messages_are_frozen_and_strict(model: type[Message]) -> None:
    assert model.model_config["strict"]
    assert model.model_config["frozen"]
    assert model.model_config["allow_inf_nan"] is False


@pytest.mark.parametrize(
    "change",
    [
        {"amount": "1"}, {"amount": True}, {"amount": -1}, {"amount": float("nan")}, {"amount": 1e13}, {"card_id": ""},
        {"card_id": 7}, {"card_id": "x" * 257}, {"event_time": 1_700_000_000}, {"event_time": 4_102_444_800_000},
        {"event_time": 1.7e12}, {"lat": 90.5}, {"lon": -181}, {"features": {"v": "x"}}, {"features": {"v": 1e16}},
    ],
)  # fmt: skip
def test_a_transaction_out_of_bounds_is_refused(change: dict[str, object]) -> None:
    assert Transaction.model_validate(VALID | {"unknown": 1, "features": {"v": -2}}).features == {"v": -2.0}
    with pytest.raises(ValidationError):
        Transaction.model_validate(VALID | change)


def test_a_label_needs_its_transaction_and_its_time() -> None:
    Label.model_validate({"transaction_id": "t", "event_time": 1_700_000_000_000, "is_fraud": True})
    with pytest.raises(ValidationError):
        Label.model_validate({"transaction_id": "t", "event_time": 1_700_000_000_000, "is_fraud": 1})


def test_every_reject_reason_is_explained() -> None:
    assert set(REASON_HELP) == set(RejectReason)
    with pytest.raises(KeyError):
        DeadLetter.from_headers([])


def test_dead_letters_take_whatever_the_input_takes() -> None:
    room = TOPICS["dead_letters"].message_bytes_max - TOPICS["transactions"].message_bytes_max
    assert room >= ADDED_HEADERS_BYTES_MAX
    assert TOPICS["snapshots"].message_bytes_max > SNAPSHOT_CHUNK_BYTES_MAX


def test_the_table_of_topics_names_every_topic_once() -> None:
    text = markdown("app", {"alerts": "my-alerts"})
    for name in ("transactions", "my-alerts", "dead-letters", "labels", "app.journal", "app.snapshots"):
        assert text.count(f"| `{name}` |") == 1
    for topic in TOPICS.values():
        assert topic.config()["cleanup.policy"] == ("compact" if topic.retention_ms == -1 else "delete")


def test_the_contract_stands_alone() -> None:
    for path in Path(FOLDER).parent.glob("*.py"):
        assert "from detector" not in path.read_text(encoding="utf-8")
