"""The first configuration that `detector lab explore` writes runs live with no edit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from detector.lab.explore.survey import survey
from detector.lab.roles import guess
from detector.lab.tables import open_table
from tests.integration import live
from tests.quality.data import needs

pytestmark = pytest.mark.slow


def test_first_config(kafka: str, topic_names: dict[str, str], tmp_path: Path) -> None:
    file, config, log = needs("bank_transactions.csv"), tmp_path / "detector.toml", tmp_path / "log"
    table = open_table(file)
    config.write_text(survey(table, guess(table), 3.0, 1.5).roles.toml())

    target = ["--bootstrap-servers", kafka, "--topic", topic_names["transactions"], "--partitions", "1", "--quiet"]
    replay = [sys.executable, "-m", "producers", "replay", str(file), "--config", str(config)]
    subprocess.run([*replay, *target], cwd=live.ROOT, check=True)
    with live.running(live.environment(kafka, topic_names), log, config) as process:
        live.wait_settled(process, kafka, topic_names, log)

    rows = sum(chunk.num_rows for chunk in table.chunks(1_000))
    decisions = live.told(kafka, topic_names["decisions"])
    assert sorted(decisions) == [(0, offset) for offset in range(rows)], "every row is decided"
    assert live.dead_letters(kafka, topic_names["dead_letters"]) == {}
    assert decisions[0, 0].transaction_id == "TX000001"
    alerts = live.told(kafka, topic_names["alerts"])
    assert 0 < len(alerts) < rows / 10
    assert all(alert.reasons for alert in alerts.values())
