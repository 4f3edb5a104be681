"""The reject window, and dead letters that fit."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.codec.decode import Reject
from detector.codec.encode import OutMessage
from detector.kafka.dead_letters import LEFT_OUT_HEADER, RejectWindow, size, without_value
from detector.kafka.errors import TooManyRejects
from detector.settings import Settings
from schemas.dead_letter import RejectReason


def window(rows: int, share: float) -> RejectWindow:
    return RejectWindow(Settings.model_validate({"input": {"rejects_window_rows": rows, "rejects_max_share": share}}))


def reject(record: int) -> Reject:
    return Reject(record, RejectReason.NOT_JSON, "amount", "expected a number")


@given(st.lists(st.lists(st.booleans(), max_size=60), max_size=20))
def test_the_window_holds_the_newest_records(batches: list[list[bool]]) -> None:
    """Against a deque of single records, in any batches."""
    ours, newest = window(25, 0.4), deque[bool](maxlen=25)
    for batch in batches:
        newest.extend(batch)
        found = ours.add(len(batch), [reject(row) for row, bad in enumerate(batch) if bad])
        assert found == (len(newest) == 25 and sum(newest) > 10)


def test_stopping_shows_an_example_and_the_settings() -> None:
    ours = window(10, 0.5)
    assert ours.add(10, [reject(row) for row in range(6)])
    with pytest.raises(TooManyRejects, match=r"50% of 10 records.*found 6.*not_json amount.*rejects_max_share") as stop:
        ours.stop([reject(5)])
    assert stop.value.exit_code == 65


def test_after_a_reset_it_fills_anew() -> None:
    ours = window(10, 0.5)
    ours.add(9, [reject(row) for row in range(9)])
    ours.reset()
    assert not ours.add(9, [reject(row) for row in range(9)])
    assert ours.add(1, [])


def test_share_one_never_stops() -> None:
    assert not window(10, 1.0).add(100, [reject(row) for row in range(100)])


def test_without_its_value_a_letter_keeps_key_and_headers() -> None:
    headers: list[tuple[str, bytes | None]] = [("trace", b"1"), ("detector.reject.reason", b"not_json")]
    letter = OutMessage(b"key", bytes(5_000), headers)
    slim = without_value(letter, 1_000)
    assert (slim.key, slim.value) == (b"key", b"")
    assert slim.headers == [*headers, (LEFT_OUT_HEADER, b"5000")]
    assert size(slim) <= 1_000


def test_where_foreign_headers_are_too_large_ours_stay() -> None:
    ours: list[tuple[str, bytes | None]] = [("__streams.errors.offset", b"7"), ("detector.reject.reason", b"not_json")]
    slim = without_value(OutMessage(bytes(5_000), b"v", [("big", bytes(5_000)), *ours]), 1_000)
    assert slim.key is None
    assert slim.headers == [*ours, (LEFT_OUT_HEADER, b"1")]
