"""Structured logs, on standard error, one line an event and never one a transaction.

Law: no card number leaves through a log. Whatever type a value has, digit runs that look like one are masked before
the line is rendered, tracebacks and lines of the standard library's loggers included. That is the last line of
defence, not the first: code does not log payloads or ids at all.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor

from detector.codec.masking import DIGITS_MIN, mask

# Integers nearer to 0 have too few digits for a card number.
_SMALL_INT = 10 ** (DIGITS_MIN - 1)
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
    return {key: mask_value(value) for key, value in event.items()}


def mask_value(value: Any) -> Any:
    """`value` with each card number in it masked, as `detector.codec.masking.mask` has it.

    Containers are walked; numbers and objects are looked at by their `repr`, and keep their type where nothing is
    masked. One run of 12 to 19 digits in ten passes the Luhn check without being a card's, and is masked all the same.
    """
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Mapping):
        return {mask_value(key): mask_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [mask_value(item) for item in value]
    if isinstance(value, int) and -_SMALL_INT < value < _SMALL_INT:
        return value
    text = repr(value)
    masked = mask(text)
    return value if masked == text else masked


def _renderers(format: Literal["console", "json"], out: TextIO) -> list[Processor]:
    if format == "json":
        return [structlog.processors.JSONRenderer()]
    plain = structlog.dev.plain_traceback  # never the pretty one: it prints local variables
    return [structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain, timestamp_key="time")]
