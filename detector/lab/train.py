"""`detector lab train`: a model fitted to a file, measured on the newest part of it, saved for the service.

Laws: features are those that the service computes (`matrix`); what is told of the saved model is told by the loaded
folder, so that a row scores live as it did here (`artifacts`). The figures are those of a first fit to older rows
alone, whose labels were known when the newest ones began; the model that is saved learns all rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.adapters import trained
from detector.adapters.trained import Trained
from detector.adapters.trained_scores import VALUE_MAX
from detector.lab import artifacts, catalog, matrix, splits, tracking
from detector.lab.catalog import Model
from detector.lab.errors import InputStopped, WrongUsage
from detector.lab.matrix import Matrix
from detector.lab.parameters import read_parameters
from detector.lab.quality import average_precision, counts_from_above, roc_auc
from detector.lab.report import Report, plots, told
from detector.lab.roles import Roles, settings_for
from detector.lab.tables import Table, open_table
from detector.settings import Settings

COMMAND = "train"
SCORES_ROWS_MAX = 10_000  # newest, that scores.csv tells of
HIGHEST_ROWS = 25  # of them, in the page
TOP_SHARE = 0.01
HIST_BINS = 40
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """What to train, on what, and where to keep it. `tracking_uri` None: no tracking."""

    data: Path
    model: str
    output: Path
    config: Path | None = None
    label: str | None = None
    label_delay_ms: int = 0
    holdout: float = 0.3
    seed: int = 42
    rows: int | None = None
    parameters: Path | None = None
    overwrite: bool = False
    register: str | None = None
    tracking_uri: str | None = ""


@dataclass(frozen=True, slots=True)
class Tested:
    """The newest rows, and what a model fitted to older ones says of them. `score` and `is_fraud` (n,)."""

    period: str
    learned: int
    score: Floats
    is_fraud: NDArray[np.bool_]

    @property
    def figures(self) -> dict[str, float]:
        """How well the frauds are ranked."""
        top = np.argsort(-self.score, kind="stable")[: max(1, round(TOP_SHARE * len(self.score)))]
        frauds = int(self.is_fraud.sum())
        return {
            "average_precision": average_precision(self.is_fraud, self.score),
            "roc_auc": roc_auc(self.is_fraud, self.score),
            "precision_in_top_1_percent": float(self.is_fraud[top].mean()),
            "recall_in_top_1_percent": float(self.is_fraud[top].sum() / max(1, frauds)),
            "rows": len(self.score),
            "frauds": frauds,
        }


def run(asked: Asked, tell: Tell) -> None:
    """Leaves the folder `asked.output`: the model, `model.json`, the report. Raises LabError, ConfigError."""
    model = servable(asked.model)
    if asked.register is not None and asked.tracking_uri is None:
        raise WrongUsage(f"--register {asked.register}: expected tracking beside it, found --no-tracking")
    parameters = read_parameters(asked.parameters, model.name)
    table = open_table(asked.data)
    built, settings, roles = features_of(table, asked, tell)
    check_labels(model, built)
    said: dict[str, Any] = {
        "parameters": parameters,
        "seed": asked.seed,
        "data": artifacts.described(asked.data, built),
    }
    name = f"{model.name} on {asked.data.name}"
    with tracking.run(COMMAND, name, {"model": model.name, **said}, uri=asked.tracking_uri) as tracked:
        with Report(asked.output, f"Trained: {name}", COMMAND, asked.overwrite) as report:
            tested = measured(model, parameters, built, asked)
            figures = {} if tested is None else tested.figures
            rows = learnable(model, built, np.arange(len(built)), asked.seed)
            estimator = fitted(model, parameters, asked.seed, built, rows)
            label = built.label[rows] if model.supervised else None
            pipeline, read = artifacts.served(estimator)
            folder = report.path("model.json").parent
            artifact = artifacts.save(
                folder, model.name, pipeline, read, built.spec, tuple(built.names), limited(built.values[rows]), label,
                figures=figures, **said,
            )  # fmt: skip
            report.path(artifact.card.file)
            declared = trained.of(artifact)
            report.figures |= {"model": model.name, "figures": figures, "digest": declared.digest, **said}
            write(report, model, built, tested, declared, len(rows), settings, asked)
            if asked.config is None:
                text = f"{roles.toml().rstrip()}\n\n{lines_to_use(asked.output)}\n"
                report.path("detector.toml").write_text(text, encoding="utf-8")
        tracked.figures(figures)
        tracked.artifact(asked.output / "model.json", "model")
        tracked.artifact(asked.output / artifact.card.file, "model")
        tracked.artifact(asked.output, "report")
        registered = tracked.registered(asked.register) if asked.register else ""
    where = f"the model and its report are in {asked.output}"
    if asked.config is None:
        where += f"; a configuration that uses it is {asked.output / 'detector.toml'}"
    for line in (*lines_of(figures), where, tracked.told, registered):
        if line:
            tell(line)


def servable(name: str) -> Model:
    """The model of that name. Raises WrongUsage where the service could not load it."""
    model = catalog.model(name)
    if model.window_rows:
        known = ", ".join(one.name for one in catalog.MODELS.values() if not one.window_rows)
        raise WrongUsage(
            f"--model {name}: expected one that scores a row by its own features ({known}); this one reads several rows"
        )
    return model


def features_of(table: Table, asked: Any, tell: Tell) -> tuple[Matrix, Settings, Roles]:
    """The matrix of the file, and the settings and roles it was made by; tells what was decided."""
    settings, roles, text = settings_for(table, asked.config, asked.label)
    delay_ms = asked.label_delay_ms if settings.labels.enabled else None
    built = matrix.build(table, settings, roles, rows=asked.rows, label_delay_ms=delay_ms)
    for line in (text, *table.choices, *built.choices):
        tell(line)
    return built, settings, roles


def check_labels(model: Model, built: Matrix) -> None:
    """Raises InputStopped where a supervised model has nothing to learn from."""
    if model.supervised and not built.labelled:
        frauds, genuine = (int((built.label == kind).sum()) for kind in (1, 0))
        raise InputStopped(
            f"model {model.name} learns from labels: expected frauds and genuine rows, found {frauds:,} and "
            f"{genuine:,}; name the column of the truth with --label, or take a model that needs none"
        )


def learnable(model: Model, built: Matrix, rows: Integers, seed: int) -> Integers:
    """Of `rows` those that the model learns: labelled ones where it is supervised, a sample where it is slow."""
    if model.supervised:
        rows = rows[built.label[rows] >= 0]
    return model.learned_rows(rows, seed)


def fitted(model: Model, parameters: dict[str, Any], seed: int, built: Matrix, rows: Integers) -> Any:
    """The model, fitted to these rows as the service will see them: features alone."""
    estimator = model.build(seed, **parameters)
    return estimator.fit(limited(built.values[rows]), built.label[rows] if model.supervised else None)


def limited(values: Floats) -> Floats:
    """As the service gives them."""
    return np.clip(values, -VALUE_MAX, VALUE_MAX)


def measured(model: Model, parameters: dict[str, Any], built: Matrix, asked: Asked) -> Tested | None:
    """The newest share of the rows by a model fitted to those before; None where there are no labels to measure by.

    Raises InputStopped where no row before them has a label that was known.
    """
    if not built.labelled or not asked.holdout:
        return None
    [fold] = splits.by_time(built, 1, asked.label_delay_ms, 1.0 - asked.holdout)
    rows = learnable(model, built, fold.train, asked.seed)
    if model.supervised and len(set(built.label[rows].tolist())) < 2:
        raise InputStopped(
            f"expected frauds and genuine rows among the {len(rows):,} whose labels were known before the newest "
            f"{asked.holdout:.0%}, found one kind; shorten --label-delay, or use --holdout 0"
        )
    known = fold.test[built.label[fold.test] >= 0]
    score = fitted(model, parameters, asked.seed, built, rows).score(limited(built.values[known]))
    return Tested(fold.name, len(rows), score, built.label[known] == 1)


def lines_of(figures: dict[str, Any]) -> list[str]:
    """For people."""
    if not figures:
        return []
    ranked = f"average precision {figures['average_precision']:.3f}, ROC AUC {figures['roc_auc']:.3f}"
    return [f"newest {figures['rows']:,} rows, {figures['frauds']:,} frauds: {ranked}"]


def write(
    report: Report, model: Model, built: Matrix, tested: Tested | None, declared: Trained, learned: int,
    settings: Settings, asked: Asked,
) -> None:  # fmt: skip
    """The page and the tables."""
    report.section("What it is", f"{model.name}: {model.about}. Learned {learned:,} rows, {len(built.names)} features.")
    report.points(built.choices)
    if tested is not None:
        figures = tested.figures
        report.section(
            "How well it ranks",
            f"Of a first fit to {tested.learned:,} rows whose labels were known before the newest ones began "
            f"({tested.period}). The saved model has learned those too.",
        )
        report.tiles(
            {
                "average precision": told(figures["average_precision"]),
                "ROC AUC": told(figures["roc_auc"]),
                "frauds in the top 1 %": f"{figures['recall_in_top_1_percent']:.0%}",
                "frauds": told(figures["frauds"]),
                "rows": told(figures["rows"]),
            }
        )
        if figures["frauds"]:
            draw_ranking(report, tested)
    report.section("How to use it", "In detector.toml; it fits wherever the same features are in use:")
    report.code(lines_to_use(asked.output))
    entities = ", ".join(f"{entity.name} by {entity.scope}" for entity in built.spec.entities) or "none"
    lateness = settings.features.allowed_lateness
    report.text(f"Features: {', '.join(built.names)}. Entities: {entities}. Allowed lateness {lateness}.")
    newest = np.argsort(built.event_time_ms, kind="stable")[-SCORES_ROWS_MAX:]
    score = trained.scores(declared, built.values[newest])
    report.section("Its scores", "The newest rows as the saved model scores them, here and live.")
    draw_scores(report, score, built.label[newest])
    columns = ["transaction_id", "label", declared.kind]
    rows = [
        [built.ids[row], None if built.label[row] < 0 else int(built.label[row]), float(one)]
        for row, one in zip(newest.tolist(), score.tolist(), strict=True)
    ]
    report.csv("scores", columns, rows)
    report.table(
        "highest_scores",
        columns,
        sorted(rows, key=lambda row: -row[2])[:HIGHEST_ROWS],
        f"The highest of the newest {len(rows):,} rows; all of them are in scores.csv.",
    )


def lines_to_use(folder: Path) -> str:
    """What a detector.toml says of the model."""
    return f"[[models.trained]]\npath = {json.dumps(str(folder.resolve()))}\nweight = 1.0"


def draw_ranking(report: Report, tested: Tested) -> None:
    """Precision over recall."""
    frauds, rows = counts_from_above(tested.is_fraud, tested.score)
    with plots():
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(figsize=(5.2, 3.2))
        axes.step(frauds / frauds[-1], frauds / rows, where="post")
        axes.axhline(frauds[-1] / rows[-1], linestyle=":", color="#6b7686")
        axes.set(xlabel="share of the frauds found", ylabel="share of frauds among them", xlim=(0, 1), ylim=(0, 1.02))
        axes.set_title("Precision over recall, newest rows")
        report.figure("precision_recall", figure, "The dotted line is a guess by chance.")


def draw_scores(report: Report, score: Floats, label: NDArray[np.int8]) -> None:
    """How scores are spread."""
    with plots():
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(figsize=(5.2, 2.6))
        bins = np.linspace(0.0, 1.0, HIST_BINS + 1).tolist()
        axes.hist(score[label != 1], bins, label="genuine or unknown", alpha=0.8)
        if (label == 1).any():
            axes.hist(score[label == 1], bins, label="fraud", alpha=0.8)
        axes.set(yscale="log", xlabel="score, as published", ylabel="rows")
        axes.set_title("Scores of the saved model")
        axes.legend()
        report.figure("scores", figure, "Rows it has learned: frauds stand out further than new ones will.")
