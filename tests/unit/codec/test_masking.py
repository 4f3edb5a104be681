"""No card number survives masking, whatever stands around it; what is none stays as it is."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.codec.masking import mask, passes_luhn

CARDS = [
    "4111111111111111",
    "5500005555555559",
    "378282246310005",
    "6011000990139424",
    "36227206271667",
    "4000000000000000006",
]


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize(
    "around", ["{}", "card {} paid", "x{}y", "{} 12/25", "12/25 {}", "{}-123", "7 {}", "[{}, 4]", "id={};", "\n{}\n"]
)
def test_card_numbers_keep_their_last_four_digits_at_most(card: str, around: str) -> None:
    masked = mask(around.format(card))
    assert card not in masked
    assert re.sub(r"\D", "", masked.replace(card[-4:], "")) in re.sub(r"\D", "", around)
    assert masked.replace("*" * (len(card) - 4) + card[-4:], card) == around.format(card)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("4111 1111 1111 1111", "**** **** **** 1111"),
        ("4111-1111-1111-1111", "****-****-****-1111"),
        ("4111 1111 1111 1111 12", "**** **** **** 1111 12"),
        ("99 4111 1111 1111 1111", "99 **** **** **** 1111"),
        ("４１１１１１１１１１１１１１１１", "************１１１１"),
    ],
)
def test_groups_and_other_digits_are_seen_through(text: str, masked: str) -> None:
    assert mask(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "", "card-00012345", "4111111111111112", "12345678901", "41111111111111110000", "10.123.45.67",
        "550e8400-e29b-41d4-a716-446655440000", "2024-11-21T08:13:00Z", "1 2 3",
    ],
)  # fmt: skip
def test_other_text_is_left_alone(text: str) -> None:
    assert mask(text) == text


@given(st.text(alphabet="0123456789 -a", max_size=60))
def test_no_run_that_passes_luhn_is_left(text: str) -> None:
    for run in re.findall(r"\d+", mask(text)):
        assert not (12 <= len(run) <= 19 and passes_luhn(run))


@given(st.text(max_size=60))
def test_masking_keeps_length_and_all_that_is_no_digit(text: str) -> None:
    masked = mask(text)
    assert len(masked) == len(text)
    assert all(new == old or (old.isdigit() and new == "*") for old, new in zip(text, masked, strict=True))
    assert mask(masked) == masked
