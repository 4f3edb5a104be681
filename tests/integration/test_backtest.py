"""`detector lab backtest --topic` over the topic that a live run has worked through: the very same decisions.

Two partitions; among the records are null values, bad ones, some whose event time is too far ahead of the record's own
timestamp, and an aborted transaction whose records nobody may see.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka import Producer

from detector.cli.backtest import TopicSource
from detector.core.batch import Verdict
from detector.lab.fold import REJECTED, VERDICTS, Fold
from detector.settings import load
from schemas.members import key_partition
from tests.integration import live, support
from tests.integration.payments import KEPT, transactions

pytestmark = pytest.mark.slow

ROWS, PARTITIONS, AHEAD_MS = 6_000, 2, 7_200_000


def publish(kafka: str, topic: str, payloads: list[bytes]) -> None:
    """All rows, keyed by card; the third quarter in a transaction, and once more in one that is aborted."""
    values: list[bytes | None] = [*payloads]
    rows = [json.loads(payload) for payload in payloads]
    keys = [row["card_id"] for row in rows]
    times = [row["event_time"] for row in rows]
    for row in range(100, ROWS, 400):
        values[row] = None
        values[row + 1] = b'{"transaction_id": "cut of'
        times[row + 2] -= AHEAD_MS
    places = [key_partition(key, PARTITIONS) for key in keys]

    def write(start: int, stop: int) -> None:
        support.produce(
            kafka, topic, values[start:stop], [key.encode() for key in keys[start:stop]],
            places[start:stop], timestamps_ms=times[start:stop],
        )  # fmt: skip

    half, three = ROWS // 2, 3 * ROWS // 4
    write(0, half)
    client = Producer({"bootstrap.servers": kafka, "transactional.id": topic, "linger.ms": 5})
    client.init_transactions(30)
    for end in (client.abort_transaction, client.commit_transaction):
        client.begin_transaction()
        for row in range(half, three):
            client.produce(topic, values[row], keys[row], places[row], timestamp=times[row])
        client.flush(30)
        end(30)
    write(three, ROWS)


def groups(kafka: str) -> set[str]:
    client = support.admin(kafka)  # held: without its client a request is never answered
    found = client.list_consumer_groups(request_timeout=20).result(20)
    return {group.group_id for group in found.valid}


def test_a_backtest_of_the_topic_makes_the_decisions_of_the_live_run(
    kafka: str, topic_names: dict[str, str], tmp_path: Path
) -> None:
    topic, log = topic_names["transactions"], tmp_path / "log"
    support.create_topics(kafka, [topic], PARTITIONS, KEPT)
    support.create_topics(kafka, [topic_names["labels"]], PARTITIONS, KEPT)
    publish(kafka, topic, transactions(tmp_path, ROWS))
    labels = (tmp_path / "transactions.labels.jsonl").read_bytes().splitlines()
    support.produce(kafka, topic_names["labels"], labels)
    env = live.environment(kafka, topic_names, input__event_time_ahead_max="1h", decision__alerts_per_day=50)
    with live.running(env, log) as process:
        live.wait_settled(process, kafka, topic_names, log)
    roles = ("transactions", "labels", "alerts", "decisions", "dead_letters")
    before = {role: support.end_offsets(kafka, topic_names[role]) for role in roles}
    committed, known = support.committed_offsets(kafka, topic_names["application_id"], topic), groups(kafka)

    # every decision, in process
    settings = load(None, {name: value for name, value in env.items() if name.startswith("DETECTOR_")})
    source = TopicSource(settings)
    fold, found = Fold(settings, topic, source.partitions), {}
    for chunk in source.chunks(lambda _partition: False):
        rows = fold.decide_at(chunk.payloads, chunk.partition, chunk.offset, chunk.record_time_ms)
        for row in np.flatnonzero(rows.verdict != REJECTED).tolist():
            place = int(rows.partition[row]), int(rows.offset[row])
            found[place] = (rows.transaction_id[row], int(rows.event_time_ms[row]), VERDICTS[int(rows.verdict[row])],
                            float(rows.risk[row]), bool(rows.late[row]), rows.score[:, row].tolist())  # fmt: skip
    expected = {
        place: (one.transaction_id, one.event_time, one.verdict, one.risk_score, one.late, [*one.scores.values()])
        for place, one in live.told(kafka, topic_names["decisions"]).items()
    }
    assert found == expected
    assert len(expected) == ROWS - 3 * len(range(100, ROWS, 400))

    # the alerts, by the command
    output = tmp_path / "report"
    command = [sys.executable, "-m", "detector", "lab", "backtest", "--topic", "--output", str(output)]
    done = subprocess.run(command, env=env, cwd=live.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with (output / "alerts.csv").open(newline="") as file:
        told = {(int(one["partition"]), int(one["offset"])): one for one in csv.DictReader(file)}
    alerts = live.told(kafka, topic_names["alerts"])
    assert {place: (one.transaction_id, round(one.risk_score, 3)) for place, one in alerts.items()} == {
        place: (one["transaction_id"], float(one["risk"])) for place, one in told.items()
    }
    assert {place: " | ".join(reason.text for reason in one.reasons) for place, one in alerts.items()} == {
        place: one["reasons"] for place, one in told.items()
    }
    assert len(alerts) > 20
    figures = json.loads((output / "figures.json").read_text())["new"]
    frauds = sum(json.loads(label)["is_fraud"] for label in labels)
    assert 0 < figures["frauds"] <= frauds, "the labels topic is the truth"
    assert figures["alerts"] == sum(one[2] == VERDICTS[Verdict.ALERT] for one in expected.values())

    # and no trace
    assert before == {role: support.end_offsets(kafka, topic_names[role]) for role in before}
    assert committed == support.committed_offsets(kafka, topic_names["application_id"], topic)
    assert groups(kafka) == known
