"""No card number leaves through a log, whatever the type, the logger or the format."""

from __future__ import annotations

import io
import json
import logging
import re
import time
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from detector.observe.logs import configure, mask_value

# Test numbers that the card schemes publish: 16, 15, 14, 13 and 19 digits.
CARDS = ("4111111111111111", "378282246310005", "30569309025904", "4222222222222", "6304000000000000000")


@pytest.fixture
def clean_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def _lines(format: Literal["console", "json"], level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    configure(format, level, stream)
    return stream


@pytest.mark.parametrize("card", CARDS)
def test_masks_up_to_the_last_four(card: str) -> None:
    assert mask_value(card) == "*" * (len(card) - 4) + card[-4:]
    assert card not in mask_value(f"card={card};")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("4111 1111 1111 1111", "**** **** **** 1111"),
        ("4111-1111-1111-1111", "****-****-****-1111"),
        ("4111 1111 1111 1111 12/27", "**** **** **** 1111 12/27"),
        ("12 4111 1111 1111 1111", "12 **** **** **** 1111"),
        ("3782 822463 10005", "**** ****** *0005"),
        ("4111111111111111=27121010000", "************1111=27121010000"),
        ("4111111111111111 4222222222222", "************1111 *********2222"),
    ],
)
def test_masks_written_in_groups(text: str, masked: str) -> None:
    assert mask_value(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111112",  # fails the check digit
        "41111111111",  # too short
        "41111111111111111111111",  # too long
        "offset 123456789 of partition 3 at 2025-11-21T08:13:00Z",
        "",
    ],
)
def test_leaves_the_rest_alone(text: str) -> None:
    assert mask_value(text) == text


@given(st.text(alphabet=st.sampled_from("0123456789 -x"), max_size=40), st.sampled_from(CARDS))
def test_a_card_set_apart_is_always_masked(around: str, card: str) -> None:
    assert card not in mask_value(f"{around}x{card}x{around}")


def test_long_runs_cost_little() -> None:
    start = time.perf_counter()
    mask_value("1 " * 50_000 + "7" * 50_000)
    assert time.perf_counter() - start < 5.0


@given(st.text(max_size=60))
def test_masking_changes_digits_only(text: str) -> None:
    masked = mask_value(text)
    assert len(masked) == len(text)
    assert all(a == b or (b == "*" and a.isdecimal()) for a, b in zip(text, masked, strict=True))


@pytest.mark.parametrize(
    "value",
    [
        4111111111111111,
        4111111111111111.0,
        b"4111111111111111",
        np.int64(4111111111111111),
        {"card": "4111111111111111"},
        {4111111111111111: 1},
        [("a", ["4111 1111 1111 1111"])],
        ValueError("4111111111111111"),
        {"4111111111111111"},
    ],
    ids=repr,
)
def test_every_type_is_masked(value: Any) -> None:
    masked = repr(mask_value(value))
    assert "4111111111111111" not in re.sub(r"[ -]", "", masked)
    assert "*" * 4 in masked


@pytest.mark.parametrize("value", [True, None, 3, 123456789012, 1.5, "plain", b"x", (1, 2), {"a": 1}], ids=repr)
def test_harmless_values_keep_their_meaning(value: Any) -> None:
    assert mask_value(value) == (list(value) if isinstance(value, tuple) else value)


def test_json_lines(clean_logging: None) -> None:
    stream = _lines("json")
    structlog.get_logger("detector.kafka").info("joined", group="g", partitions=[0, 1])
    structlog.get_logger().debug("unseen")
    line = json.loads(stream.getvalue())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line.pop("time"))
    assert line == {
        "event": "joined", "level": "info", "logger": "detector.kafka", "group": "g", "partitions": [0, 1],
    }  # fmt: skip


def test_console_lines_are_for_people(clean_logging: None) -> None:
    stream = _lines("console")
    structlog.get_logger().warning("broker away", retry_s=3)
    assert re.search(r"Z \[warning\s*\] broker away .*retry_s=3", stream.getvalue())
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("format", ["json", "console"])
def test_no_card_number_leaves(clean_logging: None, format: Literal["console", "json"]) -> None:
    stream = _lines(format)
    structlog.contextvars.bind_contextvars(request="4111111111111111")
    log = structlog.get_logger()
    log.info("seen 4111-1111-1111-1111", card=4111111111111111, nested={"a": [b"4111111111111111"]})
    logging.getLogger("librdkafka").error("cannot read %s", "4111111111111111")
    try:
        local_secret = "4111111111111111"
        int(local_secret + "x")
    except ValueError:
        log.exception("failed")
        logging.getLogger("other").exception("failed")
    structlog.contextvars.clear_contextvars()
    shown = stream.getvalue()
    assert shown.count("ValueError") == 2
    assert "4111111111111111" not in re.sub(r"[ -]", "", shown)
    assert shown.count("************1111") >= 5


def test_standard_library_is_bridged(clean_logging: None) -> None:
    stream = _lines("json", "WARNING")
    logging.getLogger("a.b").info("unseen")
    logging.getLogger("a.b").warning("seen %d", 1)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"], line["logger"]) == ("seen 1", "warning", "a.b")


def test_configure_again_replaces(clean_logging: None) -> None:
    first = _lines("json")
    log = structlog.get_logger()
    log.info("one")
    second = _lines("json")
    log.info("two")
    assert "two" not in first.getvalue()
    assert json.loads(second.getvalue())["event"] == "two"


@pytest.mark.parametrize(("format", "level", "found"), [("json", "loud", "loud"), ("xml", "info", "xml")])
def test_unknown_settings_are_refused(clean_logging: None, format: Any, level: str, found: str) -> None:
    with pytest.raises(ValueError, match=f"expected .* found '{found}'"):
        configure(format, level)
