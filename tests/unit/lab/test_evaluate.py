"""`detector lab evaluate` on small tables: the same protocol for all, clear words where something cannot be."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from detector.cli import cli
from detector.lab import prequential
from detector.lab.catalog import MODELS
from detector.lab.choosing import chosen
from detector.lab.errors import InputStopped, NotConfigured, WrongUsage
from detector.lab.evaluate import run as evaluation
from detector.lab.evaluate.measures import flagged_by
from detector.lab.evaluate.pages import identity
from detector.lab.evaluate.results import RISK_SCORE, Asked, Evaluation
from detector.lab.fold import Fold
from detector.lab.quality import average_precision, roc_auc
from detector.lab.roles import settings_for
from detector.lab.tables import open_table
from tests.unit.lab.tables import DAY_MS, rows, written

FAST = ["z_score", "isolation_forest", "logistic_regression", "xgboost", "streaming"]
CHEAP = ["z_score", "logistic_regression"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("evaluate") / "payments.csv", rows())


def without(some: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [{name: value for name, value in one.items() if name not in names} for one in some]


def evaluated(path: Path, models: list[str], label: str | None = None, **asked: Any) -> Evaluation:
    table = open_table(path)
    settings, roles, _ = settings_for(table, None, label)
    return evaluation.run(
        table, settings, roles, chosen(models, settings.spec(1), roles.label is not None), Asked(**asked)
    )


def command(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["lab", "evaluate", *arguments, "--no-tracking"])


@pytest.fixture(scope="module")
def done(source: Path) -> Evaluation:
    return evaluated(source, FAST, label_delay_ms=DAY_MS)


def test_law_all_are_asked_about_the_same_rows_and_flag_as_many(done: Evaluation) -> None:
    names = [result.name for result in done.results]
    assert names[:4] == FAST[:4]
    assert names[-2:] == ["detector", RISK_SCORE]
    assert done.labelled
    flagged = {int(flagged_by(done, result.rank).sum()) for result in done.results}
    assert len(flagged) == 1
    for result in done.results:
        assert result.rank.shape == done.tested.shape
        assert result.figures["caught"] + result.figures["missed"] == done.fraud.sum()
        assert result.figures["average_precision"] == average_precision(done.fraud, result.rank)
        assert len(result.of_fold) == 2


def test_figures_of_a_single_period_are_those_of_its_scores(source: Path) -> None:
    done = evaluated(source, ["logistic_regression", "detector"], folds=1, label_delay_ms=DAY_MS, risk_score=False)
    (fold,), (logistic, whole) = done.folds, done.results
    assert done.matrix is not None
    assert done.decided is not None
    built = MODELS["logistic_regression"].build(0, categories=len(done.matrix.category_names))
    built.fit(done.matrix.inputs(fold.train), done.matrix.label[fold.train])
    score = built.score(done.matrix.inputs(fold.test))
    np.testing.assert_array_equal(logistic.probability, score)
    assert logistic.figures["roc_auc"] == roc_auc(done.fraud, score)
    assert whole.figures["average_precision"] == average_precision(
        done.fraud, done.decided.scores["detector"][fold.test]
    )
    assert logistic.figures["roc_auc"] > 0.9


def test_labels_make_the_detector_and_the_risk_score_better(done: Evaluation, source: Path) -> None:
    found = {result.name: result.figures["average_precision"] for result in done.results}
    blind = evaluated(source, ["detector"], label_delay_ms=30 * DAY_MS, stratified=True, risk_score=False)
    assert done.weights_learned
    assert found[RISK_SCORE] > found["z_score"] + 0.1
    assert found["xgboost"] > found["z_score"] + 0.1
    weights = done.weights[-1]
    assert math.isclose(sum(weights.values()), 1.0)
    assert weights["logistic_regression"] + weights["xgboost"] > weights["z_score"] + weights["isolation_forest"]
    assert blind.decided is not None
    assert done.decided is not None
    fraud = done.fraud
    test = done.tested
    assert average_precision(fraud, done.decided.scores["detector"][test]) > average_precision(
        fraud, blind.decided.scores["detector"][test]
    )


def test_the_detector_in_chunks_is_the_fold_of_the_file(source: Path) -> None:
    table = open_table(source)
    settings, roles, _ = settings_for(table, None, None)
    found = prequential.run(table, settings, roles)
    fold = Fold(settings, settings.topics.transactions, 1)
    decided = fold.decide([payload for some in table.payloads(1_000) for payload in some])
    np.testing.assert_array_equal(found.scores["detector"], decided.risk)
    np.testing.assert_array_equal(found.scores["streaming:projections_range"], decided.score[2].astype(np.float32))
    assert found.reasons == decided.reasons
    assert found.label.tolist() == [one["is_fraud"] for one in rows()]
    assert [found.ids[row] for row in range(len(found))] == decided.transaction_id


def test_streaming_alone_builds_no_matrix(source: Path) -> None:
    done = evaluated(source, ["streaming"], label_delay_ms=DAY_MS)
    assert done.matrix is None
    assert [result.name for result in done.results][-2:] == ["detector", RISK_SCORE]
    assert identity(done, 7) == "t7"


def test_a_budget_a_day_is_the_threshold_where_it_is_named(source: Path) -> None:
    done = evaluated(source, CHEAP, alerts_per_day=3, label_delay_ms=DAY_MS, risk_score=False)
    days = done.rows.event_time_ms[done.tested] // DAY_MS
    for result in done.results:
        flagged = flagged_by(done, result.rank)
        assert np.unique(days[flagged], return_counts=True)[1].tolist() == [3] * len(np.unique(days))
    assert done.threshold.startswith("the 3 highest rows of each day")


def test_without_labels_methods_are_compared_and_seeds_tried(tmp_path: Path) -> None:
    path = written(tmp_path / "blind.csv", without(rows(600), "is_fraud"))
    done = evaluated(path, ["z_score", "kmeans", "isolation_forest", "detector"])
    assert not done.labelled
    assert {result.name for result in done.results if result.stability} == {"kmeans", "isolation_forest", "detector"}
    assert all(result.stability["seeds"] == 3 for result in done.results if result.stability)
    assert not done.weights_learned
    assert all(result.figures == {} for result in done.results)


def test_stratified_folds_test_every_row_and_learn_no_label_features(source: Path) -> None:
    done = evaluated(source, CHEAP, stratified=True, folds=3)
    np.testing.assert_array_equal(np.sort(done.tested), np.arange(len(done.rows)))
    assert done.matrix is not None
    assert not any("fraud" in name for name in done.matrix.names)


def test_a_table_without_time_is_dealt_out_and_told(tmp_path: Path) -> None:
    done = evaluated(written(tmp_path / "timeless.csv", without(rows(500), "time")), CHEAP)
    assert len(done.folds) == 5
    assert any("folds are stratified" in choice for choice in done.choices)
    assert done.matrix is not None
    assert not {"hour", "weekday"} & set(done.matrix.names)
    assert done.matrix.values.shape[1] == len(done.matrix.names)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_one_class_only_is_told_and_methods_are_compared(tmp_path: Path, share: float) -> None:
    path = written(tmp_path / "one_class.csv", rows(300, fraud_share=share))
    done = evaluated(path, [], label="is_fraud", rows=300)
    assert not done.labelled
    assert any("no quality to tell" in choice for choice in done.choices)
    assert any("xgboost left out: expected frauds and genuine rows" in choice for choice in done.choices)
    with pytest.raises(InputStopped, match="xgboost: expected frauds and genuine rows among those learned"):
        evaluated(path, ["xgboost"], label="is_fraud")


def test_too_few_frauds_before_a_period(tmp_path: Path) -> None:
    late = [one | {"is_fraud": int(place in (900, 950, 1_100))} for place, one in enumerate(rows())]
    path = written(tmp_path / "late.csv", late)
    with pytest.raises(InputStopped, match=r"found 0 and .* use fewer --folds, a shorter --label-delay"):
        evaluated(path, CHEAP, label="is_fraud")
    done = evaluated(path, [*CHEAP, "random_forest"], label="is_fraud", stratified=True, folds=3)
    assert done.labelled
    assert not done.weights_learned  # too few to learn weights from: all the same
    assert done.results[-1].figures["missed"] + done.results[-1].figures["caught"] == 3


def test_columns_that_tell_nothing_do_no_harm(tmp_path: Path) -> None:
    odd = [one | {"noise": 7, "empty": "", "way": "shop"} for one in rows()]
    models = ["z_score", "isolation_forest", "logistic_regression"]
    done = evaluated(written(tmp_path / "odd.csv", odd), models, label="is_fraud", label_delay_ms=DAY_MS)
    assert all(np.isfinite(result.rank).all() for result in done.results)
    assert {one.name for one in done.results if one.figures["roc_auc"] > 0.6} == {*models, RISK_SCORE}


def test_names_that_are_not_known_or_cannot_run(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = open_table(source)
    spec = settings_for(table, None, None)[0].spec(1)
    with pytest.raises(WrongUsage, match=r"--model magic: expected some of all, default, z_score, .*, streaming, "):
        chosen(["magic"], spec, True)
    with pytest.raises(WrongUsage, match="xgboost: learning needs labels, and no column of them is known"):
        chosen(["xgboost"], spec, False)
    monkeypatch.setattr("detector.lab.choosing.absent", lambda extra: "jax" if extra == "sequence" else "")
    with pytest.raises(NotConfigured, match=r"lstm: needs jax: pip install 'streaming-fraud-detector\[sequence\]'"):
        chosen(["lstm"], spec, True)
    everything = chosen(["all"], spec, True)
    assert everything.models == tuple(name for name in MODELS if name != "lstm")
    assert everything.told == ("lstm left out: needs jax: pip install 'streaming-fraud-detector[sequence]'",)
    assert chosen([], spec, False).streaming[-1] == "detector"


def test_the_command_leaves_a_report(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "report"
    found = command(
        str(source), "--model", ",".join([*CHEAP, "streaming"]), "--label-delay", "1d", "--output", str(folder)
    )
    assert found.exit_code == 0, found.output
    assert "average precision" in found.output
    page = (folder / "report.html").read_text()
    assert not re.search(r"(?:src|href)=.?https?:|url\(|@import", page)
    figures = json.loads((folder / "figures.json").read_text())
    assert figures["command"] == "evaluate"
    assert set(figures["models"]) >= {*CHEAP, "detector", "streaming:half_space_trees", RISK_SCORE}
    for name in ("average_precision", "curves", "gains", "confusion", "calibration", "weights", "agreement"):
        assert (folder / f"{name}.png").stat().st_size > 10_000
    models = (folder / "models.csv").read_text().splitlines()
    assert models[0].startswith("model,average precision,ROC AUC,precision,recall,F1,accuracy,cards@100,cost")
    top = (folder / "top_rows.csv").read_text().splitlines()
    assert len(top) == 201
    assert top[1].split(",")[3] == "fraud"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--label", "truth"], 2, "--label truth: expected one of the columns transaction_id"),
        (["--model", "magic"], 2, "expected some of all"),
        (["--label-delay", "30d", "--model", "z_score"], 65, "shorten --label-delay"),
        (["--folds", "99999"], 2, "99999"),
        (["--label", "speed", "--model", "z_score"], 0, "without labels"),
    ],
)
def test_the_commands_exit_codes(source: Path, tmp_path: Path, arguments: list[str], code: int, told: str) -> None:
    found = command(str(source), "--output", str(tmp_path / "report"), *arguments)
    assert getattr(found.exception, "exit_code", found.exit_code) == code, found.output
    assert told in found.output + str(found.exception)
    assert (tmp_path / "report" / "report.html").exists() == (code == 0)


def test_runs_are_tracked(source: Path, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    arguments = [str(source), "--model", "z_score", "--output", str(tmp_path / "report"), "--tracking-uri", uri]
    found = CliRunner().invoke(cli, ["lab", "evaluate", *arguments, "--label-delay", "1d"])
    assert found.exit_code == 0, found.output
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    (run,) = [one for space in client.search_experiments() for one in client.search_runs([space.experiment_id])]
    assert run.data.params["models"] == "z_score"
    assert any("average_precision" in name for name in run.data.metrics)
