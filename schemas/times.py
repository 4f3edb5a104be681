"""Times and durations as text. One reading each, shared by producers and detector, in UTC and whole milliseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_NAIVE = datetime(1970, 1, 1)
MILLISECOND = timedelta(milliseconds=1)
MS_PER_UNIT = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})"
    r"(?:\.([0-9]{1,9}))?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


# The common forms, which `datetime.fromisoformat` reads ten times faster; what they do not match takes the long way.
_PLAIN_DATE, _PLAIN_CLOCK = "[0-9]{4}-[0-9]{2}-[0-9]{2}", "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_PLAIN_RFC3339 = re.compile(
    rf"{_PLAIN_DATE}T{_PLAIN_CLOCK}(?:\.[0-9]{{3}}|\.[0-9]{{6}})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_PLAIN_PATTERNS = {
    f"%Y-%m-%d{between}%H:%M:%S": re.compile(f"{_PLAIN_DATE}{between}{_PLAIN_CLOCK}") for between in " T"
}


def rfc3339_ms(text: str) -> int:
    """Milliseconds since 1970-01-01T00:00:00Z of an RFC 3339 time; digits past the millisecond are cut off.

    Raises ValueError for anything else, a time without `Z` or offset and the leap second included.
    """
    if _PLAIN_RFC3339.fullmatch(text):
        return (datetime.fromisoformat(text) - EPOCH) // MILLISECOND
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("expected a time such as 2024-03-01T12:30:00Z or 2024-03-01T12:30:00.250+01:00")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    milliseconds = int((match[7] or "0").ljust(3, "0")[:3])
    zone: timezone = UTC
    if match[8] not in "Zz":
        hours, minutes = int(match[8][1:3]), int(match[8][4:])
        if hours > 23 or minutes > 59:
            raise ValueError("expected an offset from UTC between -23:59 and +23:59")
        offset = timedelta(hours=hours, minutes=minutes)
        zone = timezone(-offset if match[8][0] == "-" else offset)
    moment = datetime(year, month, day, hour, minute, second, tzinfo=zone)
    return (moment - EPOCH) // MILLISECOND + milliseconds


def pattern_ms(text: str, pattern: str) -> int:
    """Milliseconds of a time written by a `strptime` pattern, read as UTC unless the pattern holds `%z`.

    Raises ValueError where the text does not follow the pattern.
    """
    plain = _PLAIN_PATTERNS.get(pattern)
    if plain is not None and plain.fullmatch(text):
        return (datetime.fromisoformat(text) - EPOCH_NAIVE) // MILLISECOND
    moment = datetime.strptime(text, pattern)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - EPOCH) // MILLISECOND


def rfc3339_text(time_ms: int) -> str:
    """`2024-03-01T12:30:00.250Z`; always three digits of fraction, so that text sorts as time. Years 1 to 9999."""
    moment = EPOCH + timedelta(milliseconds=time_ms)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.").rjust(20, "0") + f"{time_ms % 1000:03d}Z"


def duration_ms(text: str) -> int:
    """`"250ms"`, `"90s"`, `"15m"`, `"1h"`, `"30d"` → milliseconds. Raises ValueError for anything else."""
    match = re.fullmatch(r"([0-9]{1,9})(ms|s|m|h|d)", text)
    if match is None or int(match[1]) == 0:
        raise ValueError(f"expected a duration such as 250ms, 90s, 15m, 24h or 30d, found {text!r}")
    return int(match[1]) * MS_PER_UNIT[match[2]]
