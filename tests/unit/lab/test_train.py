"""`detector lab train`: what is saved scores in a replay as in the lab, is in MLflow, and what cannot be trained."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from detector.adapters import tracker, trained
from detector.cli import cli
from detector.lab import freeze
from detector.lab.errors import InputStopped, LabError, WrongUsage
from detector.lab.parameters import as_toml, read_parameters
from detector.lab.train import Asked, run
from detector.settings import load
from tests.unit.lab.tables import matrix_of, rows, written


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("data") / "payments.csv", rows())


def train(data: Path, folder: Path, model: str, **rest: Any) -> list[str]:
    lines: list[str] = []
    run(Asked(data, model, folder, **{"tracking_uri": None} | rest), lines.append)
    return lines


def invoked(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def scores_of(path: Path, column: str) -> list[float]:
    with path.open() as file:
        return [float(row[column]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("model", ["xgboost", "random_forest", "dbscan"])
def test_a_trained_model_scores_in_a_replay_exactly_as_in_the_lab(model: str, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / model
    train(data, folder, model)
    decided = tmp_path / "decided.csv"
    replayed = invoked("replay", "--config", folder / "detector.toml", "--input", data, "--output", decided)
    assert replayed.exit_code == 0, replayed.output
    live = scores_of(decided, f"score_trained_{model}")
    declared = trained.declare(str(folder))
    assert live == trained.scores(declared, matrix_of(data).values).tolist()
    assert live == scores_of(folder / "scores.csv", f"trained_{model}")
    assert len(set(live)) > 20


def test_the_run_is_in_mlflow_with_figures_report_and_a_model_that_can_be_loaded(
    data: Path, tmp_path: Path, mlflow_uri: str
) -> None:
    folder = tmp_path / "M"
    told = invoked("lab", "train", data, "--model", "xgboost", "--output", folder, "--tracking-uri", mlflow_uri,
                   "--register", "payments")  # fmt: skip
    assert told.exit_code == 0, told.output
    figures = json.loads((folder / "figures.json").read_text())["figures"]
    assert figures["average_precision"] > 0.5
    run_id = told.output.split("tracked as run ")[1].split()[0]
    with tracker.quiet():
        client = tracker.client(mlflow_uri)[0]
        kept = client.get_run(run_id)
        files = {file.path for file in client.list_artifacts(run_id, "report")}
    assert kept.data.metrics["average_precision"] == figures["average_precision"]
    assert kept.data.params["model"] == "xgboost"
    assert kept.data.params["data.frauds"] == str(sum(row["is_fraud"] for row in rows()))
    assert {"report/report.html", "report/precision_recall.png"} <= files
    here = trained.declare(str(folder))
    for uri in (f"runs:/{run_id}/model", "models:/payments/1"):
        assert trained.declare(uri, tracking_uri=mlflow_uri) == here


def test_the_figures_are_those_of_a_fit_to_older_rows_alone(data: Path, tmp_path: Path) -> None:
    lines = train(data, tmp_path / "M", "xgboost", holdout=0.25, label_delay_ms=86_400_000)
    figures = json.loads((tmp_path / "M" / "figures.json").read_text())
    assert figures["figures"]["rows"] == 300
    assert any(line.startswith("newest 300 rows") for line in lines)
    assert figures["data"]["rows"] == 1_200
    assert not any("tracked" in line for line in lines)
    train(data, tmp_path / "none", "xgboost", holdout=0.0)
    assert json.loads((tmp_path / "none" / "figures.json").read_text())["figures"] == {}


def test_a_model_that_needs_no_labels_is_trained_without(tmp_path: Path) -> None:
    some = [{key: value for key, value in row.items() if key != "is_fraud"} for row in rows(400)]
    path = written(tmp_path / "unlabelled.csv", some)
    train(path, tmp_path / "M", "z_score")
    assert not trained.declare(str(tmp_path / "M")).supervised
    with pytest.raises(
        InputStopped, match="model xgboost learns from labels: expected frauds and genuine rows, found 0"
    ):
        train(path, tmp_path / "N", "xgboost")


def test_label_features_are_those_that_labels_would_have_told(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "first", "z_score")
    config = tmp_path / "detector.toml"
    own = (tmp_path / "first" / "detector.toml").read_text().split("[[models.trained]]")[0]
    config.write_text(own + "\n[labels]\nenabled = true\n")
    train(data, tmp_path / "M", "xgboost", config=config, label_delay_ms=86_400_000)
    assert "card.fraud_count.7d" in trained.declare(str(tmp_path / "M")).features
    config.write_text(own + f'\n[[models.trained]]\npath = "{tmp_path / "M"}"\n')
    refused = invoked("validate", "--config", config)
    assert refused.exit_code == 78
    assert "card.fraud_count.1d" in refused.output
    assert "set labels.enabled" in refused.output


def test_a_row_is_explained_by_members_beside_a_head(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "M", "xgboost", holdout=0.0)
    settings = load(tmp_path / "M" / "detector.toml", {})
    frozen = freeze.find(settings, data, "t900")
    assert len(frozen.score) == len(frozen.members) == len(frozen.credits()) - 1
    assert not any(name.startswith("trained") for name in frozen.members)
    assert frozen.reasons


def test_parameters_come_from_a_file(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "best.toml"
    file.write_text(as_toml("xgboost", {"trees": 7, "rate": 0.25}))
    assert read_parameters(file, "xgboost") == {"trees": 7, "rate": 0.25}
    train(data, tmp_path / "M", "xgboost", parameters=file)
    assert json.loads((tmp_path / "M" / "model.json").read_text())["parameters"] == {"trees": 7, "rate": 0.25}
    for text, reason in (
        ('model = "knn"\n[parameters]\n', "expected those of xgboost, found those of knn"),
        ("[parameters]\nleaves = 3\n", "expected names among trees, depth, .* found leaves"),
        ("trees = 7\n", "expected a table `parameters`"),
        ("trees = ", "expected TOML"),
    ):
        file.write_text(text)
        with pytest.raises(WrongUsage, match=reason):
            read_parameters(file, "xgboost")


@pytest.mark.parametrize(
    ("model", "rest", "reason"),
    [
        ("lstm", {}, "expected one that scores a row by its own features .*; this one reads several rows"),
        ("oracle", {}, "expected one of z_score"),
        ("xgboost", {"register": "x"}, "expected tracking beside it"),
        ("xgboost", {"label_delay_ms": 30 * 86_400_000}, "shorten --label-delay"),
        ("xgboost", {"label": "fraudulent"}, "expected one of the columns"),
    ],
)
def test_what_cannot_be_trained_is_told(
    model: str, rest: dict[str, Any], reason: str, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(LabError, match=reason):
        train(data, tmp_path / "M", model, **rest)
    assert not (tmp_path / "M").exists()


def test_values_far_out_are_learned_as_they_are_served(data: Path, tmp_path: Path) -> None:
    some = rows(300)
    some[7]["speed"] = 1e300
    path = written(tmp_path / "wild.csv", some)
    train(path, tmp_path / "M", "random_forest", holdout=0.0)
    assert np.isfinite(trained.scores(trained.declare(str(tmp_path / "M")), matrix_of(path).values)).all()
