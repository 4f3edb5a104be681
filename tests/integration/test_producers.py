"""The command `producers` against a real broker: every record once, in order, whatever happens to the broker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from detector.kafka.embedded import EmbeddedBroker
from producers.cli import main
from producers.simulator import Simulator, SimulatorOptions
from producers.world import WorldOptions
from schemas.files import payloads
from tests.integration.support import Record, admin, read_topic, wait_for

WORLD = ["--customers", "200", "--terminals", "300", "--merchants", "80", "--seed", "7"]
DAY_MS = 86_400_000

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts `producers` in a process of its own; standard error goes to a file named like its first argument."""
    running: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        with (tmp_path / "stderr").open("w") as stderr:
            environment = {name: value for name, value in os.environ.items() if name != "KAFKA_BOOTSTRAP_SERVERS"}
            command = [sys.executable, "-m", "producers", *arguments]
            running.append(subprocess.Popen(command, stderr=stderr, text=True, env=environment))
        return running[-1]

    yield run
    for process in running:
        if process.poll() is None:
            process.kill()
        process.wait(10)


def target(servers: str, names: dict[str, str]) -> list[str]:
    """Options for a test's own topics."""
    topics = ["--topic", names["transactions"], "--labels-topic", names["labels"]]
    return ["--bootstrap-servers", servers, *topics]


def by_partition(records: Sequence[Record]) -> dict[int, list[Record]]:
    parts: dict[int, list[Record]] = defaultdict(list)
    for record in records:
        parts[record.partition].append(record)
    return parts


def numbers(records: Sequence[Record]) -> list[int]:
    """The running number in each transaction's id."""
    return [int(json.loads(record.value or b"")["transaction_id"].rsplit("n", 1)[1]) for record in records]


def test_simulate_publishes_the_stream_keyed_by_card(kafka: str, topic_names: dict[str, str]) -> None:
    arguments = ["simulate", *WORLD, "--days", "20", "--label-delay", "2d", "--partitions", "3"]
    result = CliRunner().invoke(main, [*arguments, *target(kafka, topic_names)])
    assert result.exit_code == 0, result.output
    options = SimulatorOptions(world=WorldOptions(200, 300, 80, seed=7), days=20, label_delay_ms=2 * DAY_MS)
    batches = list(Simulator(options).batches())

    expected = [(key, payload) for batch in batches for key, payload in zip(batch.keys, batch.payloads, strict=True)]
    records = read_topic(kafka, topic_names["transactions"])
    assert sorted((record.key or b"").decode() for record in records) == sorted(str(key) for key, _ in expected)
    found = {record.value: (record.key or b"").decode() for record in records}
    assert found == {payload: key for key, payload in expected}
    partition_of: dict[bytes, set[int]] = defaultdict(set)
    for record in records:
        partition_of[record.key or b""].add(record.partition)
    assert all(len(partitions) == 1 for partitions in partition_of.values())
    for part in by_partition(records).values():
        assert numbers(part) == sorted(numbers(part)), "in order within a partition"

    labels = read_topic(kafka, topic_names["labels"])
    assert f"{len(labels)} labels" in result.output
    assert sorted(record.value or b"" for record in labels) == sorted(x for b in batches for x in b.label_payloads)
    assert len(labels) > 20
    for part in by_partition(labels).values():
        times = [msgspec.json.decode(record.value or b"")["event_time"] for record in part]
        assert times == sorted(times)
    label_partition = {record.key: record.partition for record in labels}
    assert all(partition_of[key or b""] == {partition} for key, partition in label_partition.items())

    config = admin(kafka).list_topics(topic_names["transactions"], timeout=10).topics[topic_names["transactions"]]
    assert len(config.partitions) == 3


def test_replay_publishes_rows_as_they_are(kafka: str, topic_names: dict[str, str], tmp_path: Path) -> None:
    file, config = tmp_path / "rows.csv", tmp_path / "detector.toml"
    file.write_text(
        "account,when,amount,fraud\n" + "".join(f"{i % 7:04},{i * 60},{i / 4},{i % 2}\n" for i in range(500))
    )
    config.write_text(
        f'[topics]\ntransactions = "{topic_names["transactions"]}"\nlabels = "{topic_names["labels"]}"\n'
        '[input]\ntime_format = "seconds_since"\ntime_origin = "2020-01-01T00:00:00Z"\n'
        '[input.fields]\ncard_id = "account"\nevent_time = "when"\ntransaction_id = "amount"\n'
    )
    arguments = ["replay", str(file), "--config", str(config), "--bootstrap-servers", kafka, "--partitions", "1"]
    result = CliRunner().invoke(main, [*arguments, "--labels-column", "fraud", "--label-delay", "1h"])
    assert result.exit_code == 0, result.output
    records = read_topic(kafka, topic_names["transactions"])
    assert [record.value for record in records] == next(payloads(file, text_columns={"account", "amount"}))
    assert [record.key for record in records] == [f"{i % 7:04}".encode() for i in range(500)]
    labels = [msgspec.json.decode(record.value or b"") for record in read_topic(kafka, topic_names["labels"])]
    assert [label["transaction_id"] for label in labels] == [str(i / 4) for i in range(500)]
    assert [label["is_fraud"] for label in labels] == [bool(i % 2) for i in range(500)]
    assert labels[1]["event_time"] == 1_577_836_800_000 + 60_000 + 3_600_000


def test_missing_topics_end_with_78(kafka: str, topic_names: dict[str, str]) -> None:
    result = CliRunner().invoke(main, ["simulate", *WORLD, "--days", "1", *target(kafka, topic_names)])
    assert result.exit_code == 78
    assert f"found no {topic_names['transactions']}, {topic_names['labels']}" in result.output


def test_a_record_beyond_the_limit_ends_with_65(kafka: str, topic_names: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"a":"' + "x" * 2_000_000 + '"}\n')
    result = CliRunner().invoke(main, ["replay", str(file), "--partitions", "1", *target(kafka, topic_names)])
    assert result.exit_code == 65
    assert "found one of 2,000,008 bytes" in result.output


def test_interrupt_delivers_what_was_sent(
    kafka: str, topic_names: dict[str, str], tmp_path: Path, start: Start
) -> None:
    topic = topic_names["transactions"]
    options = ["--days", "0", "--rate", "2000", "--partitions", "2"]
    process = start("simulate", *WORLD, *options, *target(kafka, topic_names))
    wait_for(lambda: topic in admin(kafka).list_topics(timeout=10).topics, 30, "topic made")
    wait_for(lambda: len(read_topic(kafka, topic)) > 500, 30, "records sent")
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    sent = numbers(read_topic(kafka, topic))
    assert sorted(sent) == list(range(len(sent)))
    assert f"{len(sent):,} transactions" in (tmp_path / "stderr").read_text()


def test_nothing_is_lost_or_doubled_while_the_broker_is_away(
    own_broker: EmbeddedBroker, tmp_path: Path, start: Start
) -> None:
    servers = own_broker.bootstrap_servers
    options = ["--bootstrap-servers", servers, "--partitions", "2", "--count", "12000", "--rate", "3000"]
    process = start("simulate", *WORLD, *options)
    wait_for(lambda: "transactions" in admin(servers).list_topics(timeout=10).topics, 30, "topic made")
    wait_for(lambda: len(read_topic(servers, "transactions")) > 1_000, 30, "records sent")
    own_broker.kill()
    told = tmp_path / "stderr"
    wait_for(lambda: "no Kafka broker answers" in told.read_text(), 30, "absence told")
    own_broker.start()
    assert process.wait(90) == 0, told.read_text()
    records = read_topic(servers, "transactions")
    assert sorted(numbers(records)) == list(range(12_000))
    for part in by_partition(records).values():
        assert numbers(part) == sorted(numbers(part))
    assert "answers again" in told.read_text()


@pytest.mark.slow
def test_stopping_while_the_broker_is_away_ends_with_69(
    own_broker: EmbeddedBroker, tmp_path: Path, start: Start
) -> None:
    servers = own_broker.bootstrap_servers
    options = ["--bootstrap-servers", servers, "--partitions", "1", "--days", "0", "--rate", "500"]
    process = start("simulate", *WORLD, *options)
    wait_for(lambda: "transactions" in admin(servers).list_topics(timeout=10).topics, 30, "topic made")
    wait_for(lambda: len(read_topic(servers, "transactions")) > 100, 30, "records sent")
    own_broker.kill()
    told = tmp_path / "stderr"
    wait_for(lambda: "no Kafka broker answers" in told.read_text(), 30, "absence told")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 69, told.read_text()
    assert "records not delivered" in told.read_text()
