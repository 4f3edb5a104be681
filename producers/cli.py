"""The command `producers`: simulate a world of payments, or replay a file, into Kafka or into a file."""

from __future__ import annotations

import signal
import sys
import tomllib
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Any, NoReturn

import click
from pydantic import ValidationError

from producers.encoding import Batch
from producers.options import DEFAULT_SERVERS, day, duration, sink_options
from producers.pace import FlatOut, Pace, Rate, Speed
from producers.progress import Display
from producers.publish import EX_CONFIG, EX_INPUT, EX_UNAVAILABLE, Publisher, PublishError, Unavailable
from producers.replay import ReplayError, replay_batches
from producers.rows import SCENARIOS
from producers.run import FileSink, KafkaSink, Sink, Tally, run
from producers.simulator import Simulator, SimulatorOptions
from producers.world import WorldOptions
from schemas.files import FileError, row_count
from schemas.mapping import Mapping
from schemas.topics import TOPICS

EX_INTERNAL = 70
EPILOG = """\b
Exit codes:
  0   done, or stopped by Ctrl-C with everything delivered
  2   wrong usage
  65  the file cannot be read as rows, or a record is too large
  69  the broker is away: with --no-wait, or stopped with records undelivered
  70  internal error
  78  wrong configuration: Kafka options, missing topics, detector.toml, a file that cannot be written
"""


class Commands(click.Group):
    """Ends with 70 where something fails that should not."""

    def invoke(self, ctx: click.Context) -> Any:
        """Click's own ways to end pass through."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception:
            traceback.print_exc()
            _fail("internal error; please report the lines above", EX_INTERNAL)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EPILOG)
def main() -> None:
    """Put transactions on Kafka: simulated ones with labelled fraud in them, or those of your own file."""


@main.command(epilog=EPILOG)
@click.option("--customers", type=click.IntRange(1), default=5_000, show_default=True, help="Customers in the world.")
@click.option("--terminals", type=click.IntRange(1), default=10_000, show_default=True, help="Terminals in shops.")
@click.option(
    "--merchants", type=click.IntRange(1), default=2_000, show_default=True, help="Shops, in town and online."
)
@click.option(
    "--amount-scale",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Multiplies all amounts; at 1 they are some tens of a currency unit.",
)
@click.option("--days", type=click.IntRange(0), help="Event-time days; 0: without end.  [default: 30; 0 with --count]")
@click.option(
    "--start",
    "start_ms",
    type=day,
    metavar="DAY",
    default="2025-01-01T00:00:00Z",
    show_default=True,
    help="First day, UTC.",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=42, show_default=True, help="Same seed, same bytes.")
@click.option("--count", type=click.IntRange(0), default=0, help="Stop after so many transactions; 0: by --days.")
@click.option("--rate", type=click.FloatRange(0), default=0.0, help="Transactions a second of wall clock; 0: flat out.")
@click.option(
    "--fraud-share",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    help="Share of transactions that are fraud, steady from the first day.",
)
@click.option(
    "--scenario",
    "scenarios",
    type=click.Choice(SCENARIOS[1:]),
    multiple=True,
    help="Only this kind of fraud; may be given several times. Not given: all.",
)
@click.option(
    "--label-delay",
    "label_delay_ms",
    type=duration,
    metavar="DURATION",
    default="1d",
    show_default=True,
    help="Event time from a transaction to its label, such as 0s, 6h or 7d.",
)
@click.option(
    "--label-genuine-share",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of genuine transactions that get a label too; every fraud gets one.",
)
@click.option(
    "--key",
    type=click.Choice(["card_id", "customer_id", "none"]),
    default="card_id",
    show_default=True,
    help="Record key of transactions; labels are keyed by card.",
)
@sink_options
def simulate(
    customers: int, terminals: int, merchants: int, amount_scale: float, days: int | None, start_ms: int, seed: int,
    count: int, rate: float, fraud_share: float, scenarios: tuple[str, ...], label_delay_ms: int,
    label_genuine_share: float, key: str, **target: Any,
) -> None:  # fmt: skip
    """Simulate customers who pay at terminals and online, and those who defraud them.

    After the Fraud Detection Handbook (chapter 3): spending profiles, terminals within a radius, its three fraud
    scenarios; besides, card testing, account takeover and impossible travel. In event-time order; seeded.
    """
    if days is None:
        days = 0 if count else 30
    options = SimulatorOptions(
        world=WorldOptions(customers, terminals, merchants, amount_scale, seed),
        days=days,
        start_ms=start_ms,
        fraud_share=fraud_share,
        scenarios=frozenset(scenarios or SCENARIOS[1:]),
        label_delay_ms=label_delay_ms,
        label_genuine_share=label_genuine_share,
        key=None if key == "none" else key,
    )
    simulator = Simulator(options)
    total = count or (int(simulator.rows_per_day * days) or None)
    _drive(simulator.batches(), Rate(rate) if rate else FlatOut(), total, count, label_delay_ms, True, target)


@main.command(epilog=EPILOG)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="A detector.toml whose [input] says which columns are card, event time and so on. Not given: the "
    "columns are those of the canonical transaction. Its topics and servers serve where no option names them.",
)
@click.option(
    "--speed",
    type=click.FloatRange(0),
    default=0.0,
    help="Multiple of the file's own event time, 60: an hour a minute; 0: flat out.",
)
@click.option("--rate", type=click.FloatRange(0), default=0.0, help="Rows a second instead; 0: by --speed.")
@click.option("--limit", type=click.IntRange(0), default=0, help="Stop after so many rows; 0: all.")
@click.option("--labels-column", help="Column with the truth (1 or true: fraud): publish labels too.")
@click.option(
    "--label-delay",
    "label_delay_ms",
    type=duration,
    metavar="DURATION",
    default="1d",
    show_default=True,
    help="Event time from a transaction to its label, such as 0s, 6h or 7d.",
)
@sink_options
def replay(
    file: Path, config: Path | None, speed: float, rate: float, limit: int, labels_column: str | None,
    label_delay_ms: int, **target: Any,
) -> None:  # fmt: skip
    """Publish a FILE's rows (Parquet, CSV, JSON Lines), each as its own JSON object, in file order.

    Keyed by the column that the mapping names as card_id, else customer_id, else without key.
    """
    if speed and rate:
        raise click.UsageError("expected --speed or --rate, found both")
    mapping = _mapping(config)
    if config is not None:
        _names_from(config, target)
    pace: Pace = Rate(rate) if rate else Speed(speed) if speed else FlatOut()
    try:
        rows = row_count(file)
        total = min(rows, limit or rows) if rows is not None else limit or None
        warn = partial(click.echo, err=True)
        batches = replay_batches(file, mapping, warn, labels_column, label_delay_ms, bool(speed), limit or None)
        _drive(batches, pace, total, limit, label_delay_ms, labels_column is not None, target)
    except (FileError, ImportError) as error:
        _fail(str(error), EX_INPUT)
    except ReplayError as error:
        _fail(f"{config or 'no --config'}: {error}", EX_CONFIG)


def _mapping(config: Path | None) -> Mapping:
    if config is None:
        return Mapping()
    try:
        return Mapping.from_toml(config)
    except OSError as error:
        _fail(f"{config}: expected a detector.toml: {error.strerror}", EX_CONFIG)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        _fail(f"{config}: expected TOML: {error}", EX_CONFIG)
    except ValidationError as error:
        for fault in error.errors():
            click.echo(f"{config}: [input] {'.'.join(map(str, fault['loc']))}: {fault['msg']}", err=True)
        _fail(f"{config}: {error.error_count()} faults in [input]", EX_CONFIG)


def _names_from(config: Path, target: dict[str, Any]) -> None:
    """Servers and topics of a detector.toml, where no option or variable gives them."""
    tables = tomllib.loads(config.read_text(encoding="utf-8"))
    for option, table, key in (
        ("bootstrap_servers", "kafka", "bootstrap_servers"),
        ("topic", "topics", "transactions"),
        ("labels_topic", "topics", "labels"),
    ):
        names = tables.get(table)
        if target[option] is None and isinstance(names, dict) and isinstance(names.get(key), str):
            target[option] = names[key] or None


def _drive(
    batches: Iterator[Batch], pace: Pace, total: int | None, limit: int, label_delay_ms: int, labels: bool,
    options: dict[str, Any],
) -> None:  # fmt: skip
    """Runs into the sink that the options name, and ends the process with its exit code."""
    tally, undelivered, where = Tally(), 0, ""
    sink: Sink | None = None
    fault: PublishError | None = None
    with _stopping() as stop, Display(total, options["quiet"]) as display:
        try:
            sink, where = _open_sink(options, labels, display.tell, stop)
            run(batches, sink, pace, label_delay_ms, stop, display, tally, limit)
        except PublishError as error:
            fault = error
        finally:
            undelivered = sink.close() if sink is not None else 0
        if fault is None and sink is not None:
            fault = sink.fault
    if sink is not None:
        display.summary(tally, where)
    if fault is not None:
        lost = f" ({undelivered:,} records not delivered)" if undelivered else ""
        _fail(f"{fault}{lost}", fault.exit_code)
    if undelivered:
        _fail(f"stopped while the broker was away: {undelivered:,} records not delivered", EX_UNAVAILABLE)


def _open_sink(options: dict[str, Any], labels: bool, tell: Callable[[str], None], stop: Event) -> tuple[Sink, str]:
    output: Path | None = options["output"]
    if output is not None:
        try:
            return FileSink(output, output.with_name(output.stem + ".labels.jsonl")), str(output)
        except OSError as error:
            raise PublishError(f"{output}: cannot be written: {error.strerror}", EX_CONFIG) from error
    servers = options["bootstrap_servers"] or DEFAULT_SERVERS
    publisher = Publisher(servers, dict(options["kafka_options"]), options["wait"], tell, stop)
    topics = {"transactions": options["topic"] or TOPICS["transactions"].name}
    if labels:
        topics["labels"] = options["labels_topic"] or TOPICS["labels"].name
    if not publisher.connect(topics, options["partitions"]):
        raise Unavailable(f"stopped before the broker at {servers} answered; nothing was sent")
    return KafkaSink(
        publisher, topics["transactions"], topics.get("labels", "")
    ), f"{' and '.join(topics.values())} at {servers}"


@contextmanager
def _stopping() -> Iterator[Event]:
    """An event that the first Ctrl-C or SIGTERM sets; a second one ends the process at once."""
    stop = Event()
    previous: dict[signal.Signals, Any] = {}

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()
        for each, handler in previous.items():
            signal.signal(each, handler)

    for each in (signal.SIGINT, signal.SIGTERM):
        previous[each] = signal.signal(each, on_signal)
    try:
        yield stop
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)


def _fail(message: str, exit_code: int) -> NoReturn:
    click.echo(f"producers: {message}", err=True)
    sys.exit(exit_code)
