"""Replay: payloads untouched, keys, times and labels by the mapping."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from producers.encoding import Batch
from producers.replay import ReplayError, event_time_reader, replay_batches
from schemas.files import payloads
from schemas.label import Label
from schemas.mapping import Mapping

LINES = [
    '{"pay":{"card":"c1","at":"2024-03-01T00:00:00Z"},"id":"a","bad":1}',
    '{"pay":{"card":77,"at":"2024-03-01T01:00:00Z"},"id":"b","bad":"0"}',
    "not json",
    '{"pay":{"at":"yesterday"},"id":"d","bad":true}',
    '{"pay":7,"id":9}',
]
FIELDS = {"card_id": "pay.card", "event_time": "pay.at", "transaction_id": "id"}
MAPPING = Mapping.model_validate({"fields": FIELDS, "time_format": "rfc3339"})
MARCH_MS = 1_709_251_200_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(LINES))
    return path


def replayed(path: Path, mapping: Mapping, **options: Any) -> Batch:
    (batch,) = replay_batches(path, mapping, warn=pytest.fail, **options)
    return batch


def test_payloads_are_those_of_files(file: Path) -> None:
    batch = replayed(file, MAPPING)
    assert batch.payloads == next(payloads(file)) == [line.encode() for line in LINES]


def test_keys_and_times_are_read_where_they_can_be(file: Path) -> None:
    batch = replayed(file, MAPPING, needs_time=True)
    assert batch.keys == ["c1", "77", None, None, None]
    hour = 3_600_000
    assert (batch.event_time_ms - MARCH_MS).tolist() == [0, hour, hour, hour, hour]


def test_labels_of_rows_with_known_truth(file: Path) -> None:
    batch = replayed(file, MAPPING, labels_column="bad", label_delay_ms=5)
    assert batch.label_row.tolist() == [0, 1, 3]
    labels = [Label.model_validate_json(payload) for payload in batch.label_payloads]
    assert [(label.transaction_id, label.is_fraud, label.card_id) for label in labels] == [
        ("a", True, "c1"),
        ("b", False, "77"),
        ("d", True, None),
    ]
    assert labels[0].event_time == MARCH_MS + 5
    assert batch.fraud.tolist() == [True, False, False, True, False]


def test_key_falls_back_to_the_customer(file: Path) -> None:
    fields = {"customer_id": "id", "event_time": "pay.at"}
    assert replayed(file, Mapping.model_validate({"fields": fields})).keys == ["a", "b", None, "d", "9"]
    assert replayed(file, Mapping.model_validate({"fields": {"event_time": "pay.at"}})).keys == [None] * 5


def test_a_key_that_is_nowhere_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a":1}\n' * 25_000)
    told: list[str] = []
    assert sum(len(batch) for batch in replay_batches(path, Mapping(), told.append)) == 25_000
    assert told == ["expected a key at 'card_id', found none in 10,000 rows: these records have no key"]


def test_ids_keep_their_zeros(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("card_id,event_time,amount\n00123,1700000000000,1.5\n123,1700000000001,2\n")
    batch = replayed(path, Mapping(), needs_time=True)
    assert batch.keys == ["00123", "123"]
    assert batch.payloads[1] == b'{"card_id":"123","event_time":1700000000001,"amount":2}'
    assert batch.event_time_ms.tolist() == [1_700_000_000_000, 1_700_000_000_001]


def test_what_cannot_be_done_is_said_at_once(file: Path) -> None:
    no_time = Mapping.model_validate({"fields": {"card_id": "pay.card", "transaction_id": "id"}})
    with pytest.raises(ReplayError, match="expected event_time"):
        replay_batches(file, no_time, pytest.fail, needs_time=True)
    no_id = Mapping.model_validate({"fields": {"event_time": "pay.at"}})
    with pytest.raises(ReplayError, match="expected transaction_id"):
        replay_batches(file, no_id, pytest.fail, labels_column="bad")


@pytest.mark.parametrize(
    ("mapping", "value", "expected"),
    [
        ({}, 1_700_000_000_000, 1_700_000_000_000),
        ({}, "1700000000000", None),
        ({}, 1.5, None),
        ({"time_format": "epoch_s"}, 1_700_000_000.25, 1_700_000_000_250),
        ({"time_format": "epoch_s"}, True, None),
        ({"time_format": "seconds_since", "time_origin": "2013-09-01T00:00:00Z"}, 1, 1_377_993_601_000),
        ({"time_format": "rfc3339"}, "2024-03-01T01:00:00+01:00", MARCH_MS),
        ({"time_format": "rfc3339"}, "2024-03-01", None),
        ({"time_format": "%d-%m-%Y %H:%M"}, "01-03-2024 00:00", MARCH_MS),
        ({"time_format": "%d-%m-%Y %H:%M"}, 5, None),
        ({"time_format": "%d-%m-%Y %H:%M"}, None, None),
    ],
)
def test_event_times(mapping: dict[str, str], value: Any, expected: int | None) -> None:
    assert event_time_reader(Mapping.model_validate(mapping))(value) == expected
