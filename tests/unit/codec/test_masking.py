"""No card number survives masking, whatever stands around it; what is none stays as it is."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.codec.masking import holds_card_number, mask, passes_luhn

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
        ("4111--1111 -1111__1111", "****--**** -****__1111"),
        ("4111\u00a01111\u20071111\u202f1111", "****\u00a0****\u2007****\u202f1111"),
        ("4111\u20101111\u20131111\u20151111", "****\u2010****\u2013****\u20151111"),
        ("3782_822463_10005", "****_******_*0005"),
        ("at 4111.1111.1111.1111.", "at ****.****.****.1111."),
        ("99 4111/1111/1111/1111", "99 ****/****/****/1111"),
        ("3782.822463.10005", "****.******.*0005"),
        ("4111111111111111 2222 3337", "**************** **** 3337"),
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
        "x00004111111111111111000", "192.168.100.200/192.168.100.201", "2024/11/21 08.13.00.123", "41111.11111.11111.1",
        "4111   1111   1111   1111", "4111.1111/1111.1111", "4111.1111.1111.11111",
    ],
)  # fmt: skip
def test_other_text_is_left_alone(text: str) -> None:
    assert mask(text) == text


@given(st.text(alphabet="0123456789 -_.\u2007a", max_size=60))
def test_no_run_that_passes_luhn_is_left(text: str) -> None:
    for run in re.findall(r"\d+", mask(text)):
        assert not (12 <= len(run) <= 19 and passes_luhn(run))


@given(st.sampled_from(CARDS), st.text(alphabet=" -_\u00a0\u2007\u202f\u2010\u2015", min_size=1, max_size=2), st.data())
def test_a_card_number_is_seen_however_it_is_grouped(card: str, between: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, len(card) - 1))))
    groups = [card[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(card)], strict=True)]
    masked = mask(between.join(groups))
    assert re.sub(r"\D", "", masked) == card[-4:]


@pytest.mark.parametrize("card", CARDS)
def test_a_card_number_is_found_among_digits_of_an_id(card: str) -> None:
    assert holds_card_number(card)
    assert holds_card_number(card.zfill(32))
    assert holds_card_number("9" + card + "9")
    assert not holds_card_number(card[:12])
    assert not holds_card_number("4111111111111")


@given(st.text(max_size=60))
def test_masking_keeps_length_and_all_that_is_no_digit(text: str) -> None:
    masked = mask(text)
    assert len(masked) == len(text)
    assert all(new == old or (old.isdigit() and new == "*") for old, new in zip(text, masked, strict=True))
    assert mask(masked) == masked
