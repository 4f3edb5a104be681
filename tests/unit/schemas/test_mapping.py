"""A mapping says what is where, and refuses what cannot be meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.mapping import CANONICAL_REQUIRED, Bounds, Mapping, split_path
from schemas.times import duration_ms, pattern_ms, rfc3339_ms, rfc3339_text


def test_the_default_is_the_canonical_transaction() -> None:
    mapping = Mapping()
    assert mapping.is_canonical
    assert mapping.required == CANONICAL_REQUIRED
    assert set(CANONICAL_REQUIRED) == {
        "transaction_id", "event_time", "card_id", "customer_id", "merchant_id", "amount", "currency",
    }  # fmt: skip
    assert Mapping(numeric=["v1"]).numeric == {"v1": "features.v1"}


def test_with_fields_given_only_those_are_there() -> None:
    mapping = Mapping.model_validate({"fields": {"event_time": "at", "amount": "", "card_id": "c"}, "numeric": ["a.b"]})
    assert mapping.fields == {"event_time": "at", "card_id": "c"}
    assert mapping.numeric == {"a.b": "a.b"}
    assert mapping.required == ()
    assert mapping.is_required("event_time")
    assert not mapping.is_required("card_id")


@pytest.mark.parametrize(
    ("declared", "fault"),
    [
        ({"fields": {"card": "c"}}, "card_id"),
        ({"fields": {"amount": "a..b"}}, "fields.amount: expected a path"),
        ({"fields": {"amount": "a", "lat": "a.b"}}, "fields.lat: expected an object at 'a', but fields.amount reads"),
        ({"fields": {"amount": "a", "lon": "b"}}, "fields.lon: expected fields.lat beside it"),
        ({"fields": {"amount": "a", "card_id": "a"}}, "expected a text at 'a', but fields.amount reads a number"),
        ({"fields": {"event_time": "t", "card_id": "t"}, "time_format": "rfc3339"}, "reads a time there"),
        ({"time_format": "epoch"}, "expected epoch_ms"),
        ({"time_format": "%Q"}, "strptime"),
        ({"time_format": "seconds_since"}, "time_origin"),
        ({"time_origin": "2013-09-01T00:00:00Z"}, "seconds_since"),
        ({"time_format": "seconds_since", "time_origin": "2013-09-01"}, "2024-03-01T12:30:00Z"),
        ({"event_time_ahead_max": "1 day"}, "a duration such as"),
        ({"fields": {"event_time": "t"}, "required": ["amount"]}, "found amount"),
        ({"bounds": {"amount_min": 5, "amount_max": 4}}, "amount_min: expected at most amount_max (4.0), found 5.0"),
        ({"bounds": {"event_time_min": "2100-01-01T00:00:00Z"}}, "event_time_min: expected a time before"),
        ({"typo": 1}, "Extra inputs"),
    ],
)
def test_what_cannot_be_meant_is_refused(declared: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError) as error:
        Mapping.model_validate(declared)
    assert fault in str(error.value)


def test_producers_read_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "detector.toml"
    path.write_text(
        'application_id = "x"\n[input]\nrejects_max_share = 1.0\ntime_format = "rfc3339"\n'
        '[input.fields]\nevent_time = "at"\n'
    )
    mapping = Mapping.from_toml(path)
    assert (mapping.time_format, mapping.fields) == ("rfc3339", {"event_time": "at"})


def test_a_backslash_keeps_a_dot_in_a_name() -> None:
    assert split_path(r"a\.b.c") == ("a.b", "c")


def test_bounds_are_the_canonical_ones() -> None:
    assert (Bounds().event_time_min_ms, Bounds().event_time_max_ms) == (946_684_800_000, 4_102_444_800_000)


@given(st.integers(rfc3339_ms("0001-01-01T00:00:00Z"), rfc3339_ms("9999-12-31T23:59:59.999Z")))
def test_times_survive_writing_and_reading(time_ms: int) -> None:
    text = rfc3339_text(time_ms)
    assert rfc3339_ms(text) == time_ms
    assert len(text) == 24


@pytest.mark.parametrize(
    "text",
    ["", "2023-11-14", "2023-11-14T22:13:20", "2023-02-30T00:00:00Z", "2016-12-31T23:59:60Z",
     "2023-11-14T22:13:20+24:00", "２０23-11-14T22:13:20Z", "2023-11-14T22:13:20Z ", "0000-01-01T00:00:00Z"],
)  # fmt: skip
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        rfc3339_ms(text)


def test_patterns_are_utc_unless_they_say_otherwise() -> None:
    assert pattern_ms("1970-01-01 00:00:01", "%Y-%m-%d %H:%M:%S") == 1_000
    assert pattern_ms("1970-01-01 01:00:01 +0100", "%Y-%m-%d %H:%M:%S %z") == 1_000


@pytest.mark.parametrize(("text", "milliseconds"), [("250ms", 250), ("90s", 90_000), ("1d", 86_400_000)])
def test_durations(text: str, milliseconds: int) -> None:
    assert duration_ms(text) == milliseconds
    for wrong in ("", "0s", "1", "1 s", "-1s", "1w", text.upper()):
        with pytest.raises(ValueError, match="duration"):
            duration_ms(wrong)


@pytest.mark.parametrize("path", ['a"b', "a\\b", "a.b\n"])
def test_a_name_that_records_are_not_read_by_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="without quotes, backslashes and controls"):
        Mapping.model_validate({"fields": {"amount": path}})
