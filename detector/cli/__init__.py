"""The command `detector`. Everything heavy is imported inside its command, so that `--help` is quick.

Law: whatever ends a command ends it with one of the documented exit codes, and with a message for the operator.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

import click

from detector.cli.lab import lab
from detector.cli.options import (
    EXIT_CODES,
    INTERNAL,
    INTERRUPTED,
    OK,
    USAGE,
    config_option,
    label_delay_option,
    label_interval_option,
    labels_option,
    settings_of,
)


def _show_version(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        click.echo(f"detector {version('streaming-fraud-detector')}")
        context.exit()


@click.group(
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_show_version, help="Show the version."
)
def cli() -> None:
    """Fraud detection on Kafka: transactions in, alerts with reasons out, exactly once."""


cli.add_command(lab)


@cli.command(epilog=EXIT_CODES)
@config_option
@click.option(
    "--rebuild", is_flag=True, help="Fold what the input topic still holds anew where saved state does not fit."
)
def run(config: Path | None, rebuild: bool) -> None:
    """Join the consumer group and decide transactions until asked to stop (SIGTERM, Ctrl-C)."""
    settings = settings_of(config, clients=True)
    from detector.kafka import service

    sys.exit(service.run(settings, rebuild=rebuild))


@cli.command(epilog=EXIT_CODES)
@config_option
def validate(config: Path | None) -> None:
    """Check the configuration and list every fault, without touching a broker."""
    settings = settings_of(config, clients=True)
    spec = settings.spec()
    click.echo(
        f"valid: {len(spec.features)} features, {len(spec.entities)} entities, {len(spec.numeric)} numeric columns; "
        f"state fingerprint {spec.state_fingerprint()}, spec fingerprint {spec.fingerprint()} on one partition"
    )


@cli.group()
def config() -> None:
    """Show the settings in force, or all there are."""


@config.command()
@config_option
def show(config: Path | None) -> None:
    """Print the settings in force as TOML, defaults included, secrets masked."""
    settings = settings_of(config)
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
    settings = settings_of(config)
    from schemas.topics import markdown

    click.echo(markdown(settings.application_id, dict(settings.topics)), nl=False)


@topics.command("create")
@config_option
@click.option("--partitions", type=click.IntRange(1, 10_000), help="Partitions of the input topic, where it is made.")
def create_topics(config: Path | None, partitions: int | None) -> None:
    """Create the topics that are not there yet."""
    settings = settings_of(config)
    from detector.kafka import admin

    for name, outcome in admin.create_topics(settings, partitions, partial(click.echo, err=True)).items():
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
@click.option("--labels-column", help="Column with the truth (1, true or yes is fraud): tell quality too.")
@labels_option
@label_delay_option
@label_interval_option
def replay(
    config: Path | None, source: Path, output: Path, partitions: int, limit: int | None, topic: str | None,
    labels_column: str | None, labels_file: Path | None, label_delay: int | None, label_interval: int,
) -> None:  # fmt: skip
    """Decide the rows of a file with the core that runs live, without Kafka."""
    settings = settings_of(config)
    from detector.lab import replay as lab_replay

    code = lab_replay.run(
        settings, source, output, partitions, limit=limit, topic=topic, labels_column=labels_column,
        labels_file=labels_file, label_delay_ms=label_delay, label_interval_ms=label_interval,
    )  # fmt: skip
    sys.exit(code)


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
    """Compile all kernels into the cache on disk (DETECTOR_CACHE_DIR, else the user's cache folder), labels' too."""
    settings = settings_of(config)
    from rich.progress import Progress

    from detector.codec.decode import Decoder
    from detector.core import compile as core_compile

    labelled = settings.model_copy(update={"labels": settings.labels.model_copy(update={"enabled": True})})
    with Progress(disable=not sys.stderr.isatty()) as bars:
        bar = bars.add_task("decoding", total=None)
        for one in (settings, labelled):
            spec = one.spec()
            Decoder(one.mapping, spec)
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
