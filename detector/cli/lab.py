"""The commands `detector lab ...`: offline, over files. Each imports what it needs when it is called."""

from __future__ import annotations

from pathlib import Path

import click

from detector.cli.options import EXIT_CODES, config_option, settings_of


@click.group()
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
    settings = settings_of(config)
    from detector.lab import examples

    for line in examples.run(settings, source, partitions, column=column, alerts=alerts, limit=limit):
        click.echo(line)
