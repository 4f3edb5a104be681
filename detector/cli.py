"""The command `detector`. Everything heavy is imported inside its command, so that `--help` is quick.

Law: whatever ends a command ends it with one of the documented exit codes, and with a message for the operator.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from detector.settings import Settings

OK, USAGE, INPUT, BROKER, INTERNAL, CONFIGURATION, INTERRUPTED = 0, 2, 65, 69, 70, 78, 130
EXIT_CODES = """
\b
Exit codes:
    0  done, or asked to stop
    2  wrong usage of the command line, or an output that cannot be written
   65  input stopped: too many bad records, or history that is lost
   69  no broker, where waiting is off
   70  internal error
   78  wrong configuration; every fault is listed
  130  interrupted
"""
CONFIG_HELP = "detector.toml. Else DETECTOR_CONFIG, else ./detector.toml where there is one, else the defaults."

config_option = click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), envvar="DETECTOR_CONFIG", help=CONFIG_HELP
)


def _show_version(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        click.echo(f"detector {version('streaming-fraud-detector')}")
        context.exit()


def _duration_ms(_context: click.Context, option: click.Parameter, text: str | None) -> int | None:
    from schemas.times import duration_ms

    try:
        return None if text is None else duration_ms(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param=option) from None


@click.group(
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_show_version, help="Show the version."
)
def cli() -> None:
    """Fraud detection on Kafka: transactions in, alerts with reasons out, exactly once."""


@cli.command(epilog=EXIT_CODES)
@config_option
@click.option(
    "--rebuild", is_flag=True, help="Fold what the input topic still holds anew where saved state does not fit."
)
def run(config: Path | None, rebuild: bool) -> None:
    """Join the consumer group and decide transactions until asked to stop (SIGTERM, Ctrl-C)."""
    settings = _settings(config)
    from detector.kafka import service

    sys.exit(service.run(settings, rebuild=rebuild))


@cli.command(epilog=EXIT_CODES)
@config_option
def validate(config: Path | None) -> None:
    """Check the configuration and list every fault, without touching a broker."""
    settings = _settings(config)
    spec = settings.spec()
    click.echo(
        f"valid: {len(spec.features)} features, {len(spec.entities)} entities, {len(spec.numeric)} numeric columns; "
        f"spec {spec.fingerprint()} on one partition"
    )


@cli.group()
def config() -> None:
    """Show the settings in force, or all there are."""


@config.command()
@config_option
def show(config: Path | None) -> None:
    """Print the settings in force as TOML, defaults included, secrets masked."""
    settings = _settings(config)
    from detector.settings import text

    click.echo(text.show(settings), nl=False)


@config.command()
def reference() -> None:
    """Print the reference of all settings as Markdown (detector/CONFIGURATION.md)."""
    from detector.settings import text

    click.echo(text.reference(), nl=False)


@cli.group()
def topics() -> None:
    """The topics of the application."""


@topics.command("list")
@config_option
def list_topics(config: Path | None) -> None:
    """Print the table of topics; asks no broker."""
    settings = _settings(config)
    from schemas.topics import markdown

    click.echo(markdown(settings.application_id, dict(settings.topics)), nl=False)


@topics.command("create")
@config_option
@click.option("--partitions", type=click.IntRange(1, 10_000), help="Partitions of the input topic, where it is made.")
def create_topics(config: Path | None, partitions: int | None) -> None:
    """Create the topics that are not there yet."""
    settings = _settings(config)
    from detector.kafka import admin

    for name, outcome in admin.create_topics(settings, partitions).items():
        click.echo(f"{outcome:8}{name}")


@cli.command(epilog=EXIT_CODES)
@config_option
@click.option("--input", "source", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Parquet, CSV or JSON lines, in log order.")  # fmt: skip
@click.option("--output", required=True, type=click.Path(dir_okay=False, path_type=Path),
              help="Where decisions go: .parquet, .csv or .jsonl; row i is the input's row i.")  # fmt: skip
@click.option("--partitions", type=click.IntRange(1, 10_000), default=1, show_default=True,
              help="Partitions to spread the rows over, as the producer would.")  # fmt: skip
@click.option("--limit", type=click.IntRange(1), help="Stop after so many rows.")
@click.option("--topic", help="Input topic in ids that rows do not bring.  [default: that of the configuration]")
@click.option("--labels-column", help="Column with the truth (1 or true: fraud): tell quality too.")
@click.option("--labels", "labels_file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="File with transaction_id, is_fraud (or --labels-column), maybe event_time: learn it.")  # fmt: skip
@click.option("--label-delay", callback=_duration_ms, metavar="7d",
              help="Learn each label so long after its transaction, where it says no time of its own.")  # fmt: skip
@click.option("--label-interval", callback=_duration_ms, default="15m", show_default=True,
              help="Learn the labels of so much event time together, at its end.")  # fmt: skip
def replay(
    config: Path | None, source: Path, output: Path, partitions: int, limit: int | None, topic: str | None,
    labels_column: str | None, labels_file: Path | None, label_delay: int | None, label_interval: int,
) -> None:  # fmt: skip
    """Decide the rows of a file with the core that runs live, without Kafka."""
    settings = _settings(config)
    from detector.lab import replay as lab_replay

    code = lab_replay.run(
        settings, source, output, partitions, limit=limit, topic=topic, labels_column=labels_column,
        labels_file=labels_file, label_delay_ms=label_delay, label_interval_ms=label_interval,
    )  # fmt: skip
    sys.exit(code)


@cli.group()
def lab() -> None:
    """Looks into how decisions come about."""


@lab.command(epilog=EXIT_CODES)
@config_option
@click.option("--input", "source", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Parquet, CSV or JSON lines, in log order.")  # fmt: skip
@click.option("--by", "column", help="Column to group alerts by, such as a fraud scenario or the truth.")
@click.option("--alerts", type=click.IntRange(1, 1_000), default=10, show_default=True, help="Alerts of each group.")
@click.option("--partitions", type=click.IntRange(1, 10_000), default=1, show_default=True,
              help="Partitions to spread the rows over, as the producer would.")  # fmt: skip
@click.option("--limit", type=click.IntRange(1), help="Stop after so many rows.")
def explain(
    config: Path | None, source: Path, column: str | None, alerts: int, partitions: int, limit: int | None
) -> None:
    """Decide a file and print some of its alerts with their reasons."""
    settings = _settings(config)
    from detector.lab import examples

    for line in examples.run(settings, source, partitions, column=column, alerts=alerts, limit=limit):
        click.echo(line)


@cli.command(epilog=EXIT_CODES)
@click.option("--seconds", type=click.FloatRange(min=1), help="End by itself after so long, with a summary.")
@click.option("--bootstrap-servers", default="", envvar="KAFKA_BOOTSTRAP_SERVERS", show_envvar=True,
              help="Use this broker, under names of the demo's own, instead of starting one.")  # fmt: skip
def demo(seconds: float | None, bootstrap_servers: str) -> None:
    """Run a broker, a simulator, the detector and a live view, until Ctrl-C."""
    from detector.demo.main import run as run_demo

    sys.exit(run_demo(seconds, bootstrap_servers))


@cli.command("compile", epilog=EXIT_CODES)
@config_option
def compile_kernels(config: Path | None) -> None:
    """Compile all kernels into the cache on disk (DETECTOR_CACHE_DIR, else the user's cache folder)."""
    settings = _settings(config)
    from rich.progress import Progress

    from detector.codec.decode import Decoder
    from detector.core import compile as core_compile

    spec = settings.spec()
    with Progress(disable=not sys.stderr.isatty()) as bars:
        bar = bars.add_task("decoding", total=None)
        Decoder(settings.mapping, spec)
        core_compile.compile_kernels(
            spec, lambda what, done, total: bars.update(bar, description=what, completed=done, total=total)
        )
    click.echo("kernels are compiled")


def main() -> NoReturn:
    """Runs the command; turns whatever ends it into a message and an exit code."""
    try:
        sys.exit(cli.main(standalone_mode=False) or OK)
    except click.ClickException as error:
        error.show()
        sys.exit(USAGE)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except Exception as error:
        _refuse(error)


def _refuse(error: Exception) -> NoReturn:
    """Errors that carry an `exit_code` speak to the operator; all others are ours, shown with their trace."""
    code = getattr(error, "exit_code", None)
    if isinstance(code, int):
        click.echo(f"detector: {error}", err=True)
        sys.exit(code)
    import traceback

    trace: Callable[[], str] = traceback.format_exc
    click.echo(_masked(trace()) + "detector: internal error; please report it with the lines above", err=True)
    sys.exit(INTERNAL)


def _masked(text: str) -> str:
    """No card number leaves, not even in a trace."""
    try:
        from detector.codec.masking import mask
    except ImportError:
        return ""
    return mask(text)


def _settings(config: Path | None) -> Settings:
    """Settings, or the end of the process with every fault listed and exit code 78."""
    from detector.settings import ConfigError, load
    from detector.settings.paths import missing

    path = config
    if path is None and Path("detector.toml").exists():
        path = Path("detector.toml")
    try:
        settings = load(path)
        faults = missing(settings)
    except ConfigError as error:
        faults = error.faults
    if faults:
        click.echo(f"detector: {path or 'environment'}: {len(faults)} fault(s) in the configuration", err=True)
        for fault in faults:
            click.echo(f"  {fault}", err=True)
        sys.exit(CONFIGURATION)
    return settings
