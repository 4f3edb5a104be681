"""`detector lab tune`: it improves a default, goes on where it stopped, is in MLflow; and what it cannot search."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from detector.adapters import tracker
from detector.cli import cli
from detector.lab import tune
from detector.lab.errors import InputStopped, LabError, WrongUsage
from detector.lab.parameters import read_parameters
from detector.lab.tables import open_table
from detector.lab.tuned import TunedModel
from detector.settings import load
from tests.unit.lab.tables import rows, written


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("data") / "payments.csv", rows(900, 0.05))


def asked(data: Path, folder: Path, model: str, **rest: Any) -> tune.Asked:
    return tune.Asked(data, model, folder, **{"tracking_uri": None, "trials": 4} | rest)


def tuned(data: Path, folder: Path, model: str, **rest: Any) -> list[str]:
    lines: list[str] = []
    tune.run(asked(data, folder, model, **rest), lines.append)
    return lines


def figures(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "figures.json").read_text())
    return found


def trials(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def invoked(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_a_model_tuned_beats_its_default_and_its_runs_are_in_mlflow(
    data: Path, tmp_path: Path, mlflow_uri: str
) -> None:
    told = invoked("lab", "tune", data, "--model", "knn", "--trials", 6, "--output", tmp_path / "T",
                   "--tracking-uri", mlflow_uri)  # fmt: skip
    assert told.exit_code == 0, told.output
    found = figures(tmp_path / "T")
    assert found["best"] > found["default"]
    assert found["newest_best"] > 0.0
    assert read_parameters(tmp_path / "T" / "best.toml", "knn") == found["parameters"] != {}
    run_id = told.output.split("tracked as run ")[1].split()[0]
    with tracker.quiet():
        client = tracker.client(mlflow_uri)[0]
        kept = client.get_run(run_id)
        below = client.search_runs([kept.info.experiment_id], f"tags.mlflow.parentRunId = '{run_id}'")
        files = {file.path for file in client.list_artifacts(run_id, "report")}
    assert kept.data.metrics["best"] == found["best"]
    assert kept.data.params["best.neighbours"] == str(found["parameters"]["neighbours"])
    assert len(below) == 6
    assert max(one.data.metrics.get("average_precision", 0.0) for one in below) == found["best"]
    assert {"report/history.png", "report/importance.png", "report/report.html", "report/best.toml"} <= files


def test_a_search_that_was_stopped_goes_on(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "T"
    whole = TunedModel.values
    begun: list[dict[str, Any]] = []

    def stopped(self: TunedModel, parameters: dict[str, Any]) -> Any:
        begun.append(parameters)
        if len(begun) == 4:  # the default, two trials, and one more
            raise KeyboardInterrupt
        return whole(self, parameters)

    monkeypatch.setattr(TunedModel, "values", stopped)
    with pytest.raises(KeyboardInterrupt):
        tuned(data, folder, "kmeans", trials=5)
    assert not folder.exists()
    tuned(data, folder, "kmeans", trials=5)
    ended = [trial for trial in trials(folder) if trial["state"] != "fail"]
    assert [trial["clusters"] for trial in ended[:2]] == [str(parameters["clusters"]) for parameters in begun[1:3]]
    assert len(trials(folder)) == 5
    count = len(begun)
    tuned(data, folder, "kmeans", trials=5)
    assert len(begun) - count <= 2  # the newest rows are no trial
    assert len(trials(folder)) == 5


def test_a_trial_that_a_kill_cut_off_is_made_up_for(data: Path, tmp_path: Path) -> None:
    question = asked(data, tmp_path / "T", "kmeans", trials=3)
    study = tune.opened(question, TunedModel(open_table(data), question, lambda _: None))
    study.ask()  # begun, and nobody is left to end it
    tuned(data, tmp_path / "T", "kmeans", trials=3)
    assert [trial["state"] for trial in trials(tmp_path / "T")] == ["complete"] * 3


def test_a_study_of_another_question_is_refused(data: Path, tmp_path: Path) -> None:
    tuned(data, tmp_path / "T", "z_score", trials=1)
    with pytest.raises(WrongUsage, match=r"expected one of this question, found another's \(folds differ\)"):
        tuned(data, tmp_path / "T", "z_score", folds=2)
    (tmp_path / "text").write_text("no database, but long enough to be looked at as one " * 20)
    with pytest.raises(WrongUsage, match="expected a SQLite file of `lab tune`"):
        tuned(data, tmp_path / "U", "z_score", study=tmp_path / "text")


def test_the_detector_tuned_beats_its_default_and_is_a_configuration_that_runs(data: Path, tmp_path: Path) -> None:
    tuned(data, tmp_path / "T", "detector", trials=4)
    found = figures(tmp_path / "T")
    assert found["best"] > found["default"]
    settings = load(tmp_path / "T" / "detector.toml", {})
    assert settings.models.half_space_trees.weight == found["parameters"]["models.half_space_trees.weight"]
    assert settings.models.projections_asinh.width == found["parameters"]["models.projections_asinh.width"]
    assert settings.mapping.fields["card_id"] == "card_id"
    checked = invoked("validate", "--config", tmp_path / "T" / "detector.toml")
    assert checked.exit_code == 0, checked.output


def test_what_comes_after_a_period_changes_nothing_about_it(data: Path, tmp_path: Path) -> None:
    """Prequential, delay respected: other labels and values later on, or in the last day before, are not learned."""
    other = rows(900, 0.05)
    for row in other[-180:]:
        row |= {"is_fraud": 1 - row["is_fraud"], "amount": 1.0}
    changed = written(tmp_path / "other.csv", other)
    values = [
        list(TunedModel(open_table(path), asked(path, tmp_path, "logistic_regression", label_delay_ms=86_400_000),
                        lambda _: None).values({}))
        for path in (data, changed)
    ]  # fmt: skip
    assert values[0] == values[1]
    assert len(values[0]) == 3
    assert all(np.isfinite(value) and count > 50 for value, count in values[0])


@pytest.mark.parametrize(
    ("model", "rest", "reason"),
    [
        ("lstm", {}, "this one reads several rows"),
        ("knn", {"label": "nothing"}, "expected one of the columns"),
        ("detector", {"folds": 50, "rows": 60}, "expected 50 periods with rows|expected rows whose labels"),
    ],
)
def test_what_cannot_be_tuned_is_told(
    model: str, rest: dict[str, Any], reason: str, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(LabError, match=reason):
        tuned(data, tmp_path / "T", model, **rest)


def test_without_a_truth_there_is_nothing_to_tune_by(tmp_path: Path) -> None:
    some = [{key: value for key, value in row.items() if key != "is_fraud"} for row in rows(200)]
    path = written(tmp_path / "unlabelled.csv", some)
    for model in ("knn", "detector"):
        with pytest.raises(InputStopped, match="expected a label column with frauds and genuine rows, found none"):
            tuned(path, tmp_path / "T", model)
