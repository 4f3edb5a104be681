"""Card numbers never leave: whatever looks like one is cut to its last four digits.

Law: no run of 12 to 19 digits that passes the Luhn check (ISO/IEC 7812-1) is left in a masked text, whether written in
one piece or in groups with single spaces or hyphens between them; at most its last 4 digits stay (PCI DSS 3.4.1).
UUIDs are left alone: their hyphens are not a card's.
"""

from __future__ import annotations

import re

DIGITS_MIN, DIGITS_MAX = 12, 19
DIGITS_KEPT = 4
# A UUID is tried first, so that its last group is not taken for a number.
_CANDIDATE = re.compile(
    r"(?<![0-9A-Za-z])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![0-9A-Za-z])|(?P<digits>\d+(?:[ \-]\d+)*)"
)
_GROUP = re.compile(r"\d+")
_DIGIT = re.compile(r"\d")


def mask(text: str) -> str:
    """`text` with every card number replaced by asterisks and its last 4 digits; other text comes back unchanged."""
    if len(text) < DIGITS_MIN or len(_DIGIT.findall(text)) < DIGITS_MIN:  # nearly all ids, at a tenth of the cost
        return text
    return _CANDIDATE.sub(_mask_candidate, text)


def passes_luhn(digits: str) -> bool:
    """Luhn check over decimal digits of any script."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


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
