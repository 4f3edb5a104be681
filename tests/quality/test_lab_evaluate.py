"""`detector lab evaluate` over public data, made smaller where that takes nothing away from what is asked of it.

The whole of creditcard.parquet, split by time, is in the README; here it is one genuine row in ten and every fraud.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from detector.cli import cli
from tests.quality.data import EXAMPLES, needs


def evaluated(path: Path, folder: Path, *options: str) -> dict[str, Any]:
    arguments = ["lab", "evaluate", str(path), "--output", str(folder), "--no-tracking", *options]
    found = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert found.exit_code == 0, found.output
    assert (folder / "report.html").stat().st_size > 50_000
    figures: dict[str, Any] = json.loads((folder / "figures.json").read_text())
    return figures


def test_bank_transactions(tmp_path: Path) -> None:
    figures = evaluated(
        needs("bank_transactions.csv"),
        tmp_path / "report",
        "--model",
        "z_score,lof,autoencoder,streaming",
        "--seeds",
        "2",
    )
    assert figures["rows"] == 2_512
    assert any("rows put in order of event time" in choice for choice in figures["choices"])
    assert figures["models"]["detector"]["stability"]["rank_correlation"] > 0.9
    top = (tmp_path / "report" / "top_rows.csv").read_text().splitlines()
    assert any("this card's 30-day mean" in line for line in top[:10])


def test_transaction_anomalies_without_a_time(tmp_path: Path) -> None:
    figures = evaluated(
        needs("transaction_anomalies.csv"), tmp_path / "report", "--model", "z_score,kmeans,knn,dbscan,detector"
    )
    assert figures["rows"] == figures["tested"] == 1_000
    assert len(figures["periods"]) == 5
    assert any(choice.startswith("no event time: folds are stratified") for choice in figures["choices"])
    # The file has some amounts ten times the others: whatever the method, nearly all on top are these.
    top = [line.split(",") for line in (tmp_path / "report" / "top_rows.csv").read_text().splitlines()[1:11]]
    assert sum(float(row[1]) > 2_000 for row in top) >= 7


def test_a_month_of_the_handbook(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(needs("fdh_raw.parquet")).slice(0, 300_000)
    month = pc.less(table["TX_DATETIME"], pa.scalar(datetime(2018, 5, 1), table["TX_DATETIME"].type))
    some = pc.less(table["TERMINAL_ID"].cast(pa.int64()), 400)  # terminals keep all of their history
    path = tmp_path / "month.parquet"
    pq.write_table(table.filter(pc.and_(month, some)), path)
    figures = evaluated(
        path, tmp_path / "report", "--config", str(EXAMPLES / "fdh.toml"), "--label", "TX_FRAUD",
        "--model", "logistic_regression,xgboost,detector", "--label-delay", "3d", "--alerts-per-day", "5",
    )  # fmt: skip
    models = figures["models"]
    assert figures["frauds_tested"] > 30
    assert models["xgboost"]["average_precision"] > 0.25
    assert models["detector"]["card_precision"] > 0
    assert figures["threshold"].startswith("the 5 highest rows of each day")


@pytest.mark.slow
def test_supervised_models_on_credit_cards_reach_what_the_literature_does(tmp_path: Path) -> None:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(needs("creditcard.parquet"))
    kept = pc.equal(table["Class"], 1).to_numpy() | (np.arange(table.num_rows) % 10 == 0)
    path = tmp_path / "creditcard.parquet"
    pq.write_table(table.filter(kept), path)
    figures = evaluated(
        path, tmp_path / "report", "--config", str(EXAMPLES / "creditcard.toml"), "--label", "Class", "--folds", "1",
        "--model", "z_score,logistic_regression,random_forest,xgboost", "--no-risk-score",
    )  # fmt: skip
    found = {name: model["average_precision"] for name, model in figures["models"].items()}
    assert found["random_forest"] > 0.75
    assert found["xgboost"] > 0.75
    assert min(found["random_forest"], found["xgboost"]) > found["z_score"] + 0.2
    assert figures["label_delay_ms"] == pytest.approx(4.8 * 3_600_000, rel=0.01)
