"""Structured logs, on standard error, one line an event and never one a transaction.

Law: no card number leaves through a log. Whatever type a value has, digit runs that look like one are masked before
the line is rendered, tracebacks and lines of the standard library's loggers included. That is the last line of
defence, not the first: code does not log payloads or ids at all.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor

# A primary account number has 12 to 19 digits (ISO/IEC 7812-1), often written in groups.
PAN_DIGITS_MIN, PAN_DIGITS_MAX = 12, 19
_SEPARATOR = r"[ \-\u00a0\u2009\u202f]"
_RUN = re.compile(rf"\d(?:{_SEPARATOR}?\d){{{PAN_DIGITS_MIN - 1},}}")
_GROUP = re.compile(r"\d+")
_PLAIN = (bool, type(None))


def configure(format: Literal["console", "json"], level: str, stream: TextIO | None = None) -> None:
    """Send structlog and the standard library's logging to `stream` (standard error where None).

    `format`: `json`, one object a line, or `console`, for people. `level`: debug, info, warning, error or critical.
    Times are RFC 3339, UTC. Raises ValueError for an unknown format or level. May be called again.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"expected a log level of debug, info, warning, error or critical, found {level!r}")
    if format not in ("console", "json"):
        raise ValueError(f"expected a log format of console or json, found {format!r}")
    out = sys.stderr if stream is None else stream
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                mask_card_numbers,
                structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
                *_renderers(format, out),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def mask_card_numbers(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: every value of `event` with card numbers masked."""
    return {key: mask(value) for key, value in event.items()}


def mask(value: Any) -> Any:
    """`value` with each card number in it masked up to its last four digits.

    Strings, and numbers and objects by their `repr`, keep their type where nothing is masked; containers are walked.
    Digit runs of 12 to 19, also in groups parted by single spaces or dashes, are card numbers when they pass the Luhn
    check (ISO/IEC 7812-1, annex B). One such run in ten of other numbers passes too, and is masked all the same.
    """
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Mapping):
        return {mask(key): mask(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [mask(item) for item in value]
    if isinstance(value, int) and -(10 ** (PAN_DIGITS_MIN - 1)) < value < 10 ** (PAN_DIGITS_MIN - 1):
        return value
    text = repr(value)
    masked = mask_text(text)
    return value if masked == text else masked


def mask_text(text: str) -> str:
    """`text` with card numbers masked; the very same object where it holds none."""
    return _RUN.sub(_mask_run, text) if _RUN.search(text) else text


def _mask_run(match: re.Match[str]) -> str:
    """Mask the longest card numbers made of whole groups, so that "4111 1111 1111 1111 12" is caught as well."""
    groups = list(_GROUP.finditer(match[0]))
    characters = list(match[0])
    first = 0
    while first < len(groups):
        window = _card_groups(groups, first)
        digit_at = [index for group in window for index in range(group.start(), group.end())]
        for index in digit_at[:-4]:
            characters[index] = "*"
        first += max(1, len(window))
    return "".join(characters)


def _card_groups(groups: list[re.Match[str]], first: int) -> list[re.Match[str]]:
    """The most groups from `first` on that together make a card number; empty where none do."""
    digits, found = "", 0
    for last in range(first, len(groups)):
        digits += groups[last][0]
        if len(digits) > PAN_DIGITS_MAX:
            break
        if len(digits) >= PAN_DIGITS_MIN and _passes_luhn(digits):
            found = last + 1 - first
    return groups[first : first + found]


def _passes_luhn(digits: str) -> bool:
    total = 0
    for place, character in enumerate(reversed(digits)):
        digit = int(character) * (1 + place % 2)
        total += digit - 9 if digit > 9 else digit
    return total % 10 == 0


def _renderers(format: Literal["console", "json"], out: TextIO) -> list[Processor]:
    if format == "json":
        return [structlog.processors.JSONRenderer()]
    plain = structlog.dev.plain_traceback  # never the pretty one: it prints local variables
    return [structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain, timestamp_key="time")]
