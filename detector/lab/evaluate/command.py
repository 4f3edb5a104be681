"""The command: opens the table, runs, writes the report, keeps the run in MLflow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from detector.lab import tracking
from detector.lab.choosing import chosen
from detector.lab.evaluate import run as evaluation
from detector.lab.evaluate.pages import ordered, told_figures, write
from detector.lab.evaluate.results import Asked, Evaluation
from detector.lab.progress import Display
from detector.lab.report import Report, plots
from detector.lab.roles import settings_for
from detector.lab.tables import open_table

COMMAND = "evaluate"


def run(
    data: Path,
    output: Path | None,
    asked: Asked,
    *,
    models: Sequence[str] = (),
    config: Path | None = None,
    label: str | None = None,
    overwrite: bool = False,
    tracking_uri: str | None = "",
) -> list[str]:
    """Writes the report of `data` and returns what to print. Raises LabError, ConfigError."""
    with plots():  # matplotlib is missed before an hour of fitting, not after
        pass
    folder = output or Path(f"lab-evaluate-{data.name.split('.')[0]}")
    parameters = {"data": data.name, "models": ",".join(models) or "default", "label": label or "", **asdict(asked)}
    table = open_table(data)
    settings, roles, introduction = settings_for(table, config, label)
    choice = chosen(models, settings.spec(1), roles.label is not None)
    labels = f"labels: column {roles.label}" if roles.label is not None else "no column of labels"
    with tracking.run(COMMAND, data.name, parameters, uri=tracking_uri) as tracked:
        with Report(folder, f"Models on {data.name}", COMMAND, overwrite) as report:
            with Display(None, doing="evaluating") as display:
                done = evaluation.run(
                    table, settings, roles, choice, asked, display.step, display.update, display.preparing
                )
                display.step("drawing")
            write(report, done, [f"{introduction}; {labels}", *table.choices, *choice.told])
        tracked.figures(told_figures(done))
        tracked.artifact(folder)
    return [*summary(done), f"{folder / 'report.html'}", *([tracked.told] if tracked.told else [])]


def summary(done: Evaluation) -> list[str]:
    """The table in lines."""
    rows = f"{len(done.tested):,} of {len(done.rows):,} rows tested"
    if not done.labelled:
        return [f"{rows}, without labels: {len(done.results)} methods compared with one another"]
    lines = [f"{rows}, {int(done.fraud.sum()):,} frauds; flagged: {done.threshold}"]
    for result in ordered(done):
        found = result.figures
        lines.append(
            f"{result.name:32} average precision {found['average_precision']:.3f}  ROC AUC {found['roc_auc']:.3f}  "
            f"precision {found['precision']:.3f}  recall {found['recall']:.3f}  cost {found['cost']:,.0f}"
        )
    return lines
