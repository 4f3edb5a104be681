"""Card numbers never leave: whatever looks like one is cut to its last four digits.

Law: no run of 12 to 19 digits that passes the Luhn check (ISO/IEC 7812-1) is left in a masked text, in one piece or in
groups with one or two of these between them: space, no-break, figure or narrow space, hyphen, any dash of Unicode,
underscore; with dots or slashes, only in groups of 4-4-4-4 or 4-6-5, for others are addresses, decimals and dates. At
most its last 4 digits stay (PCI DSS 3.4.1).

What is not seen: a card number inside a longer run of digits, of which too many would pass the check by chance, and one
with other marks between its digits. UUIDs are left alone: their hyphens are not a card's. The ids of a `traceparent`
are looked at more closely (`holds_card_number`), since one that is dropped costs only a link.
"""

from __future__ import annotations

import re

DIGITS_MIN, DIGITS_MAX = 12, 19
DIGITS_KEPT = 4
CARD_DIGITS_MIN = 13  # the shortest card numbers in use
_BETWEEN = "[ \u00a0\u2007\u202f\\-\u2010-\u2015_]{1,2}"
# A UUID is tried first, so that its last group is not taken for a number.
_CANDIDATE = re.compile(
    r"(?<![0-9A-Za-z])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![0-9A-Za-z])"
    rf"|(?P<digits>\d+(?:{_BETWEEN}\d+)*)"
)
_POINTED = re.compile(
    r"(?<!\d)(?P<digits>\d{4}(?P<mark>[./])(?:\d{4}(?P=mark)\d{4}(?P=mark)\d{4}|\d{6}(?P=mark)\d{5}))(?!\d)"
)
_GROUP = re.compile(r"\d+")
# What any number to mask holds: so many digits with no more than its marks between them.
_LONG = re.compile(rf"(?<!\d)\d(?:(?:{_BETWEEN}|[./])?\d){{{DIGITS_MIN - 1}}}")


def mask(text: str) -> str:
    """`text` with every card number replaced by asterisks and its last 4 digits; other text comes back unchanged."""
    if _LONG.search(text) is None:  # nearly all texts, at a tenth of the cost
        return text
    while (masked := _masked_once(text)) != text:  # digits that stay may be a number with those after them
        text = masked
    return masked


def holds_card_number(digits: str) -> bool:
    """Whether 13 to 19 of these digits, next to one another, pass the Luhn check; most long runs do, by chance."""
    lengths = range(CARD_DIGITS_MIN, DIGITS_MAX + 1)
    return any(
        passes_luhn(digits[start : start + length])
        for start in range(len(digits) - CARD_DIGITS_MIN + 1)
        for length in lengths
        if start + length <= len(digits)
    )


def passes_luhn(digits: str) -> bool:
    """Luhn check over decimal digits of any script."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _masked_once(text: str) -> str:
    if text.count(".") > 1 or text.count("/") > 1:
        text = _POINTED.sub(_mask_candidate, text)
    return _CANDIDATE.sub(_mask_candidate, text)


def _mask_candidate(match: re.Match[str]) -> str:
    text = match[0]
    if match["digits"] is None or sum(map(str.isdigit, text)) < DIGITS_MIN:
        return text
    groups = [(group.start(), group.end()) for group in _GROUP.finditer(text)]
    hidden = [False] * len(text)
    for first in range(len(groups)):  # any consecutive groups may be the number; the others a date or a code
        digits = ""
        for start, stop in groups[first : first + DIGITS_MAX]:
            digits += text[start:stop]
            if len(digits) > DIGITS_MAX:
                break
            if len(digits) >= DIGITS_MIN and passes_luhn(digits):
                _hide(text, groups[first][0], stop, hidden)
    return "".join("*" if hide else letter for letter, hide in zip(text, hidden, strict=True))


def _hide(text: str, start: int, stop: int, hidden: list[bool]) -> None:
    """Hides all digits of `text[start:stop]` but the last 4."""
    places = [place for place in range(start, stop) if text[place].isdigit()]
    for place in places[:-DIGITS_KEPT]:
        hidden[place] = True
