"""What all commands share: exit codes, the option `--config`, and the settings it leads to."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

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


def as_duration_ms(_context: click.Context, option: click.Parameter, text: str | None) -> int | None:
    """An option's callback: "7d" in milliseconds."""
    from schemas.times import duration_ms

    try:
        return None if text is None else duration_ms(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param=option) from None


labels_option = click.option(
    "--labels", "labels_file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with transaction_id, is_fraud (or --labels-column), maybe event_time: learn it.",
)  # fmt: skip
label_delay_option = click.option(
    "--label-delay", callback=as_duration_ms, metavar="7d",
    help="Learn each label so long after its transaction, where it says no time of its own.",
)  # fmt: skip
label_interval_option = click.option(
    "--label-interval", callback=as_duration_ms, default="15m", show_default=True,
    help="Learn the labels of so much event time together, at its end; longer is faster where rows are few.",
)  # fmt: skip


def as_day(_context: click.Context, option: click.Parameter, text: str | None) -> int | None:
    """An option's callback: "2018-07-01" in days since the epoch."""
    from schemas.times import pattern_ms

    try:
        return None if text is None else pattern_ms(text, "%Y-%m-%d") // 86_400_000
    except ValueError:
        raise click.BadParameter(f"expected a day such as 2018-07-01, found {text!r}", param=option) from None


def settings_of(config: Path | None, clients: bool = False) -> Settings:
    """Settings, or the end of the process with every fault listed and exit code 78.

    `clients`: whether the properties of `[kafka] client` are tried as well.
    """
    from detector.settings import ConfigError, load
    from detector.settings.paths import missing

    path = config
    if path is None and Path("detector.toml").exists():
        path = Path("detector.toml")
    try:
        settings = load(path)
        faults = missing(settings)
        if clients:
            from detector.kafka import properties

            faults += properties.faults(settings, {fault.partition(":")[0] for fault in faults})
    except ConfigError as error:
        faults = error.faults
    if faults:
        click.echo(f"detector: {path or 'environment'}: {len(faults)} fault(s) in the configuration", err=True)
        for fault in faults:
            click.echo(f"  {fault}", err=True)
        sys.exit(CONFIGURATION)
    return settings
