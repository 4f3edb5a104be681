"""The commands `detector lab ...`: offline, over files. Each imports what it needs when it is called."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from detector.cli.options import (
    EXIT_CODES,
    as_day,
    as_duration_ms,
    config_option,
    label_delay_option,
    label_interval_option,
    labels_option,
    settings_of,
)

if TYPE_CHECKING:
    from detector.settings import Settings


@click.group()
def lab() -> None:
    """Looks into how decisions come about."""


# Those of `detector.lab.catalog`, which is too heavy to be imported for a help text.
MODEL_NAMES = (
    "z_score, mean_k_sd, kmeans, knn, dbscan, isolation_forest, lof, autoencoder, lstm, logistic_regression, "
    "random_forest, xgboost"
)
existing_file = click.Path(exists=True, dir_okay=False, path_type=Path)
folder_option = click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the report.  [default: lab-COMMAND-DATA here]",
)  # fmt: skip
overwrite_option = click.option("--overwrite", is_flag=True, help="Write into a folder that holds something else.")
partitions_option = click.option(
    "--partitions", type=click.IntRange(1, 10_000), default=1, show_default=True,
    help="Partitions to spread the rows over, as the producer would.",
)  # fmt: skip

table_config_option = click.option(
    "--config", type=existing_file, help="detector.toml that says what the columns are.  [default: guessed]"
)
table_label_option = click.option("--label", metavar="COLUMN", help="Column with the truth.  [default: guessed]")
tracking_options = (
    click.option("--tracking-uri", default="", metavar="URI",
                 help="MLflow's store or server.  [default: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db]"),
    click.option("--no-tracking", is_flag=True, help="Keep nothing in MLflow."),
)  # fmt: skip


def tracked(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of where runs are kept; the command gets `tracking_uri`, None where nothing is."""

    @wraps(command)
    def chosen(*arguments: Any, tracking_uri: str, no_tracking: bool, **rest: Any) -> Any:
        return command(*arguments, tracking_uri=None if no_tracking else tracking_uri, **rest)

    for option in tracking_options:
        chosen = option(chosen)
    return chosen


@lab.command(epilog=EXIT_CODES)
@click.argument("data", required=False, type=existing_file)
@config_option
@click.option(
    "--input", "source", type=existing_file, help="The same as DATA: Parquet, CSV or JSON lines, in log order."
)
@click.option("--row", "row_id", metavar="ID",
              help="This row, beside LIME: by its id, or its number from 0 where rows have none.")  # fmt: skip
@click.option("--by", "column", help="Column to group alerts by, such as a fraud scenario or the truth.")
@click.option("--alerts", type=click.IntRange(1, 1_000), default=10, show_default=True, help="Alerts of each group.")
@labels_option
@click.option("--labels-column", help="With --label-delay: column with the truth (1, true or yes is fraud).")
@label_delay_option
@partitions_option
@click.option("--limit", type=click.IntRange(1), help="Stop after so many rows.")
@folder_option
@overwrite_option
def explain(
    data: Path | None, config: Path | None, source: Path | None, row_id: str | None, column: str | None, alerts: int,
    labels_file: Path | None, labels_column: str | None, label_delay: int | None,
    partitions: int, limit: int | None, output: Path | None, overwrite: bool,
) -> None:  # fmt: skip
    """Decide a file and print some of its alerts with their reasons; with --row, explain one row beside LIME.

    The former needs no further package; the latter leaves a report with the picture and the table, and needs the extra
    `lab`. Without a configuration the columns' roles are guessed, as explore does (extra `files`).
    """
    path = one_of(data, source)
    settings = guessed_or(config, path)
    if row_id is None:
        from detector.lab import examples

        lines = examples.run(
            settings, path, partitions, column=column, alerts=alerts, limit=limit,
            labels_column=labels_column, labels_file=labels_file, label_delay_ms=label_delay,
        )  # fmt: skip
    elif labels_file is not None or label_delay is not None:
        raise click.UsageError("--row: expected no labels beside it, for LIME asks about the anomaly alone")
    else:
        from detector.lab import explain_row

        folder = output or Path(f"lab-explain-{path.stem}")
        lines = explain_row.run(settings, path, row_id, folder, partitions, overwrite=overwrite)
    for line in lines:
        click.echo(line)


def guessed_or(config: Path | None, data: Path) -> Settings:
    """The configuration in force where there is one, else what the columns of `data` are taken for, which is told."""
    if config is not None or Path("detector.toml").exists():
        return settings_of(config)
    from detector.lab.roles import settings_for
    from detector.lab.tables import open_table

    settings: Settings
    settings, _, told = settings_for(open_table(data), None, None)
    click.echo(told, err=True)
    return settings


@lab.command(epilog=EXIT_CODES)
@click.argument("data", required=False, type=existing_file)
@config_option
@click.option("--against", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="A second configuration, say the one that runs: told are the alerts gained and lost.")  # fmt: skip
@click.option(
    "--input", "source", type=existing_file, help="The same as DATA: Parquet, CSV or JSON lines, in log order."
)
@click.option("--topic", is_flag=True,
              help="Instead of a file: the live input topic of --config. Read only, nothing is committed.")  # fmt: skip
@click.option("--from", "first", callback=as_day, metavar="DAY", help="First day to report, such as 2018-07-01 (UTC).")
@click.option("--to", "last", callback=as_day, metavar="DAY", help="Last day to report, included.")
@click.option("--labels", "labels_file", type=existing_file,
              help="File with transaction_id, is_fraud (or --labels-column), maybe event_time: the truth.")  # fmt: skip
@click.option("--labels-column", "--label", "labels_column", help="Column with the truth (1, true or yes is fraud).")
@click.option("--label-delay", callback=as_duration_ms, metavar="7d",
              help="Where labels.enabled is set: learn each label so long after its transaction.")  # fmt: skip
@label_interval_option
@partitions_option
@click.option("--limit", type=click.IntRange(1), help="Stop after so many rows of a file.")
@click.option("--show", "shown_max", type=click.IntRange(1, 1_000), default=50, show_default=True,
              help="Alerts gained, and lost, in the report, drawn evenly; the CSV has all.")  # fmt: skip
@folder_option
@overwrite_option
def backtest(config: Path | None, against: Path | None, **asked: Any) -> None:
    """What a configuration would have alerted, day by day, over a file or the live topic.

    Decided by the code that runs live, from an empty state at the first record on: rows before --from warm it up. With
    --against, both configurations see the same records. Labels, where there are any, are the truth to measure by; a
    configuration with labels.enabled also learns them, late. With --topic they come from topics.labels unless named.
    """
    named = [("new", settings_of(config))] + ([("current", settings_of(against))] if against else [])
    from detector.cli.backtest import run

    for line in run(named, **asked):
        click.echo(line)


@lab.command(epilog=EXIT_CODES)
@click.argument("data", type=existing_file)
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="detector.toml that says what the columns are.  [default: guessed]")  # fmt: skip
@click.option("--label", metavar="COLUMN", help="Column with the truth.  [default: guessed]")
@click.option("--limit", type=click.IntRange(1), help="Look at so many rows only.")
@click.option("--deviations", "k", type=click.FloatRange(0, min_open=True), default=3.0, show_default=True,
              help="Standard deviations from the mean from which a value is an outlier.")  # fmt: skip
@click.option("--fence", type=click.FloatRange(0, min_open=True), default=1.5, show_default=True,
              help="Quartile distances beyond the quartiles from which it is one.")  # fmt: skip
@folder_option
@overwrite_option
def explore(
    data: Path, output: Path | None, config: Path | None, label: str | None, limit: int | None, k: float, fence: float,
    overwrite: bool,
) -> None:  # fmt: skip
    """Look at a table before anything is configured: a report, and a detector.toml to begin with."""
    from detector.lab.explore.run import run

    folder = run(data, output, config=config, label=label, limit=limit, k=k, fence=fence, overwrite=overwrite)
    click.echo(f"{folder / 'report.html'}")
    if config is None:
        click.echo(f"a configuration to begin with: {folder / 'detector.toml'}")


@lab.command(epilog=EXIT_CODES)
@click.argument("data", type=existing_file)
@click.option("--model", required=True, help=f"Its name: {MODEL_NAMES}.")
@table_config_option
@table_label_option
@click.option("--label-delay", "label_delay_ms", callback=as_duration_ms, default="1d", show_default=True,
              help="So long after its transaction a label is known.")  # fmt: skip
@click.option("--parameters", type=existing_file, help="TOML or JSON that `lab tune` wrote.")
@click.option("--holdout", type=click.FloatRange(0.0, 0.9), default=0.3, show_default=True,
              help="Newest share of the rows, that a first fit is measured on; what is saved learns all.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=42, show_default=True, help="Of all random choices.")
@click.option("--limit", "rows", type=click.IntRange(1), help="Stop after so many rows.")
@click.option("--register", metavar="NAME", help="Make it the next version of this model in MLflow's registry.")
@folder_option
@overwrite_option
@tracked
def train(data: Path, model: str, output: Path | None, **asked: Any) -> None:
    """Fit a model and save it as a folder that the service loads: [[models.trained]] path = "FOLDER".

    A model without labels becomes a member beside the detector's own, a supervised one a head. What is saved is skops
    or XGBoost's own format and a JSON, never a pickle.
    """
    from detector.lab.train import Asked, run

    run(Asked(data, model, output or Path(f"lab-train-{data.stem}"), **asked), click.echo)


@lab.command(epilog=EXIT_CODES)
@click.argument("data", type=existing_file)
@click.option("--model", required=True, help=f"Its name: {MODEL_NAMES}; or detector, for the detector's own settings.")
@click.option("--trials", type=click.IntRange(1, 100_000), default=30, show_default=True,
              help="How many in all, those of an earlier start included.")  # fmt: skip
@click.option("--folds", type=click.IntRange(1, 50), default=3, show_default=True,
              help="Periods that a trial is scored on, each after what it learned.")  # fmt: skip
@table_config_option
@table_label_option
@click.option("--label-delay", "label_delay_ms", callback=as_duration_ms, default="1d", show_default=True,
              help="So long after its transaction a label is known.")  # fmt: skip
@click.option("--holdout", type=click.FloatRange(0.0, 0.9), default=0.2, show_default=True,
              help="Newest share of the rows, that only the default and the best are measured on.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=42, show_default=True, help="Of all random choices.")
@click.option("--limit", "rows", type=click.IntRange(1), help="Stop after so many rows.")
@click.option("--study", type=click.Path(dir_okay=False, path_type=Path),
              help="SQLite file of the trials, to go on with.  [default: OUTPUT.study.db]")  # fmt: skip
@folder_option
@overwrite_option
@tracked
def tune(data: Path, model: str, output: Path | None, **asked: Any) -> None:
    """Search a model's parameters, or the detector's settings, by cross-validation in time.

    The best are written as best.toml for `lab train --parameters`, or as a detector.toml that the service accepts. The
    same command again goes on where it was stopped.
    """
    from detector.lab.tune import Asked, run

    run(Asked(data, model, output or Path(f"lab-tune-{data.stem}"), **asked), click.echo)


@lab.command(epilog=EXIT_CODES)
@click.argument("data", type=existing_file)
@click.option("--model", "models", default="", metavar="NAME[,NAME...]",
              help=f"Which: {MODEL_NAMES}; streaming (the detector and its own models); all.  "
              "[default: a quick choice]")  # fmt: skip
@table_config_option
@table_label_option
@click.option("--label-delay", "label_delay_ms", callback=as_duration_ms, metavar="7d",
              help="A label is known so long after its row.  [default: 7d, at most a tenth of the file]")  # fmt: skip
@click.option("--folds", type=click.IntRange(1, 100), help="Tested periods.  [default: 2; 5 if stratified]")
@click.option("--folds-stratified", "stratified", is_flag=True,
              help="Folds drawn by chance, with equal shares of fraud: for tables without time.")  # fmt: skip
@click.option("--alerts-per-day", type=click.IntRange(1),
              help="Rows that each model flags a day.  [default: the share of fraud in what was learned]")  # fmt: skip
@click.option("--alert-cost", type=click.FloatRange(0.0), default=10.0, show_default=True,
              help="What it costs to look at one flagged row, in units of the amounts.")  # fmt: skip
@click.option("--cards-a-day", type=click.IntRange(1), default=100, show_default=True, help="k of card precision@k.")
@click.option("--seeds", type=click.IntRange(1, 100),
              help="Runs with other seeds, to see how stable ranks are.  [default: 1; 3 without labels]")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all random choices.")
@click.option("--risk-score/--no-risk-score", default=True, show_default=True,
              help="The Fraud Risk Score of all; its weights take one more fit of each model a period.")  # fmt: skip
@click.option("--limit", "rows", type=click.IntRange(1), help="Stop after so many rows.")
@folder_option
@overwrite_option
@tracked
def evaluate(
    data: Path, models: str, output: Path | None, config: Path | None, label: str | None, overwrite: bool,
    tracking_uri: str | None, **asked: Any,
) -> None:  # fmt: skip
    """Models side by side on one file: split by time, labels as late as they come, the same number of rows flagged.

    Without labels: how far methods agree, how stable they are, and the rows on top with reasons.
    """
    from detector.lab.evaluate.command import run
    from detector.lab.evaluate.results import Asked

    names = [name.strip() for name in models.split(",") if name.strip()]
    for line in run(
        data, output, Asked(**asked), models=names, config=config, label=label, overwrite=overwrite,
        tracking_uri=tracking_uri,
    ):  # fmt: skip
        click.echo(line)


def one_of(data: Path | None, source: Path | None) -> Path:
    """The file that was named, as the argument or by --input."""
    path = data or source
    if path is None or (data and source):
        raise click.UsageError("expected one file, as DATA or by --input")
    return path
