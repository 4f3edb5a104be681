"""What the demo runs is accepted by those who run it, and is nobody else's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from detector import settings
from detector.demo.plan import ALERTS_PER_DAY, MODEL_FEATURES, PARTITIONS, TREES, Plan
from producers.cli import main as producers
from schemas.topics import TOPICS


def test_the_detector_accepts_its_settings(tmp_path: Path) -> None:
    plan = Plan.draw(tmp_path, "")
    plan.write_config("127.0.0.1:1234", 0)
    found = settings.load(plan.config_file, {})
    assert found.kafka.bootstrap_servers == "127.0.0.1:1234"
    assert found.kafka.guarantee == "exactly_once"
    assert found.application_id == plan.application_id
    assert found.decision.alerts_per_day == ALERTS_PER_DAY
    assert found.http.port == 0
    assert found.mapping.time_ahead_max_ms == 0
    spec = found.spec(PARTITIONS)
    assert spec.members[0].features == MODEL_FEATURES
    assert spec.members[0].trees == TREES
    assert ALERTS_PER_DAY % PARTITIONS == 0, "every task has the same share, every day"


def test_the_simulator_accepts_its_options(tmp_path: Path) -> None:
    plan = Plan.draw(tmp_path, "")
    arguments = plan.simulator("127.0.0.1:1")
    begin = arguments.index("simulate")
    output = tmp_path / "payments.jsonl"
    result = CliRunner().invoke(producers, [*arguments[begin:], "--count", "3000", "--output", str(output)])
    assert result.exit_code == 0, result.output
    payments = [json.loads(line) for line in output.read_text().splitlines()]
    labels = [json.loads(line) for line in (tmp_path / "payments.labels.jsonl").read_text().splitlines()]
    time_ms = {payment["transaction_id"]: payment["event_time"] for payment in payments}
    assert len(payments) == 3_000
    assert 0 < len(labels) < 100
    assert all(label["event_time"] == time_ms[label["transaction_id"]] for label in labels), "known at once"
    assert all(label["is_fraud"] and label["scenario"] for label in labels)


def test_names_on_a_given_broker_are_nobody_elses(tmp_path: Path) -> None:
    one, other = Plan.draw(tmp_path, "given:9092"), Plan.draw(tmp_path, "given:9092")
    assert one.topics.keys() == TOPICS.keys()
    assert set(one.topics.values()).isdisjoint(other.topics.values())
    assert all(name.startswith(one.application_id + ".") for name in one.topics.values())


def test_names_on_the_own_broker_are_the_usual_ones(tmp_path: Path) -> None:
    assert Plan.draw(tmp_path, "").topics["dead_letters"] == "dead-letters"


def test_settings_of_the_surroundings_do_not_leak_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTOR_DECISION__ALERTS_PER_DAY", "7")
    monkeypatch.setenv("DETECTOR_CONFIG", "/nowhere.toml")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "elsewhere:9092")
    monkeypatch.setenv("DETECTOR_CACHE_DIR", "/cache")
    monkeypatch.setenv("LANG", "C.UTF-8")
    env = Plan.draw(tmp_path, "").environment()
    assert not {"DETECTOR_DECISION__ALERTS_PER_DAY", "DETECTOR_CONFIG", "KAFKA_BOOTSTRAP_SERVERS"} & env.keys()
    assert env["DETECTOR_CACHE_DIR"] == "/cache"
    assert env["LANG"] == "C.UTF-8"
    assert env["TMPDIR"] == str(tmp_path)
