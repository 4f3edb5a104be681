"""Law (a trained model scores live exactly as in the lab): a trained head and a trained member in `detector run`."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.adapters import trained
from detector.lab.train import Asked, run
from tests.integration import live
from tests.integration.test_live_equals_replay import command
from tests.unit.lab.tables import matrix_of, rows, written

pytestmark = pytest.mark.slow

ROWS = 1_200


def test_a_trained_head_and_a_trained_member_score_live_as_in_the_lab(
    kafka: str, topic_names: dict[str, str], tmp_path: Path
) -> None:
    data = written(tmp_path / "payments.jsonl", rows(ROWS))
    config = tmp_path / "detector.toml"
    for model in ("xgboost", "kmeans"):
        run(Asked(data, model, tmp_path / model, tracking_uri=None), lambda _: None)
    both = (tmp_path / "kmeans" / "detector.toml").read_text()
    config.write_text(f'{both}\n[[models.trained]]\npath = "{tmp_path / "xgboost"}"\n')
    target = ["--bootstrap-servers", kafka, "--topic", topic_names["transactions"], "--quiet", "--partitions", "1"]
    command("producers", "replay", str(data), "--config", str(config), *target)
    env, log = live.environment(kafka, topic_names, kafka__commit_rows_max=97), tmp_path / "log"
    with live.running(env, log, config) as process:
        live.wait_settled(process, kafka, topic_names, log)
    decisions = live.told(kafka, topic_names["decisions"])
    assert len(decisions) == ROWS
    values = matrix_of(data).values
    for model in ("xgboost", "kmeans"):
        expected = trained.scores(trained.declare(str(tmp_path / model)), values).tolist()
        assert [decisions[0, offset].scores[f"trained_{model}"] for offset in range(ROWS)] == expected
