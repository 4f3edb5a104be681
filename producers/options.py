"""Option types of the command line, and the options that both commands share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from schemas.times import duration_ms
from schemas.topics import TOPICS

DEFAULT_SERVERS = "localhost:9092"
Command = TypeVar("Command", bound=Callable[..., Any])


def duration(text: str) -> int:
    """`0s`, `90s`, `6h`, `7d` → milliseconds. Raises BadParameter naming the form."""
    if text in ("0", "0s", "0ms", "0m", "0h", "0d"):
        return 0
    try:
        return duration_ms(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def day(text: str) -> int:
    """`2025-01-01` or its midnight in RFC 3339 → milliseconds since the epoch. Raises BadParameter naming the form."""
    try:
        midnight = datetime.strptime(text.removesuffix("T00:00:00Z"), "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise click.BadParameter(
            f"expected a day such as 2025-01-01 or 2025-01-01T00:00:00Z, found {text!r}"
        ) from error
    return int(midnight.timestamp()) * 1_000


def pair(text: str) -> tuple[str, str]:
    """`key=value` → both. Raises BadParameter where there is no `=`."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise click.BadParameter(f"expected key=value such as linger.ms=20, found {text!r}")
    return key, value


def sink_options(command: Command) -> Command:
    """The options that both commands share: where to, how fast, how much."""
    for option in reversed(
        (
            click.option("--bootstrap-servers", envvar="KAFKA_BOOTSTRAP_SERVERS", show_envvar=True,
                         help=f"Kafka to publish to.  [default: {DEFAULT_SERVERS}]"),
            click.option("--topic", help=f"Topic of transactions.  [default: {TOPICS['transactions'].name}]"),
            click.option("--labels-topic", help=f"Topic of labels.  [default: {TOPICS['labels'].name}]"),
            click.option("--partitions", type=click.IntRange(0), default=0, show_default=True,
                         help="Make missing topics with so many partitions; 0: missing topics are an error."),
            click.option("--output", type=click.Path(dir_okay=False, path_type=Path),
                         help="Write JSON Lines to this file instead of Kafka; labels go to FILE.labels.jsonl."),
            click.option("--kafka-option", "kafka_options", type=pair, metavar="KEY=VALUE", multiple=True,
                         help="Any librdkafka producer property, such as linger.ms=20; may be given several times."),
            click.option("--wait/--no-wait", default=True, show_default=True,
                         help="While the broker is away: keep trying, or end with 69."),
            click.option("--quiet", is_flag=True, help="No progress; faults and the summary only."),
        )
    ):  # fmt: skip
        command = option(command)
    return command
