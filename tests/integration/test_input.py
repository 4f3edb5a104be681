"""Bad input, growing input, absent input: nothing lost, nothing altered, nothing stuck."""

from __future__ import annotations

import json
import random

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import NewPartitions

from detector.kafka.admin import MADE_ANEW
from detector.kafka.embedded import EmbeddedBroker
from detector.kafka.patience import AWAY
from tests.integration import support
from tests.integration.counting import numbers
from tests.integration.process import Detector
from tests.integration.truth import assert_alerts, assert_nothing_lost, wait_settled


def test_rejects_go_to_the_dead_letters_untouched(kafka: str, topic_names: dict[str, str]) -> None:
    """Value, key and headers byte for byte, ours after them; tombstones are counted and skipped."""
    support.create_topics(kafka, [topic_names["transactions"]], 1)
    bad: list[bytes | None] = [b"{", b"", b"\xff\xfe\x00", b"nan", random.Random(2).randbytes(900_000)]
    values = [*numbers(50), *bad, None, None, *numbers(50, 50)]
    keys = [b"\x00key-%d" % row for row in range(len(values))]
    headers = [[("trace", b"\x00\xff"), ("trace", None), ("", b"empty name")]] * len(values)
    support.produce(kafka, topic_names["transactions"], values, keys=keys, headers=headers)
    with Detector(kafka, topic_names) as detector:
        wait_settled(kafka, topic_names)
        assert detector.metric("detector_tombstones_total") == 2
        assert detector.metric('detector_dead_letters_total{reason="not_json"}') == len(bad)
        assert detector.metric('detector_transactions_total{verdict="alert"}') == 10
        assert detector.stop() == 0
        assert "key-5" not in detector.log
    letters = sorted(support.read_topic(kafka, topic_names["dead_letters"]), key=lambda letter: letter.key or b"")
    assert [(letter.key, letter.value) for letter in letters] == list(zip(keys[50:55], bad, strict=True))
    for row, letter in enumerate(letters):
        assert letter.headers[:3] == tuple(headers[0])
        added = dict(letter.headers[3:])
        assert added["__streams.errors.topic"] == topic_names["transactions"].encode()
        assert added["__streams.errors.offset"] == b"%d" % (50 + row)
        assert added["detector.reject.reason"] == b"not_json"
    assert_alerts(kafka, topic_names)


def test_a_stream_of_rejects_stops_with_65(kafka: str, topic_names: dict[str, str]) -> None:
    """What was good before is committed, and so are the dead letters; a restart goes on behind them."""
    support.create_topics(kafka, [topic_names["transactions"]], 1)
    support.produce(kafka, topic_names["transactions"], [*numbers(300), *([b"broken"] * 300)])
    section = {"rejects_window_rows": 400, "rejects_max_share": 0.5}
    with Detector(kafka, topic_names, input=section) as detector:
        assert detector.ends() == 65
        assert "input.fields" in detector.log
    assert len(support.read_topic(kafka, topic_names["dead_letters"])) == 300
    support.produce(kafka, topic_names["transactions"], numbers(300, 300))
    with Detector(kafka, topic_names, input=section) as detector:
        wait_settled(kafka, topic_names)
        assert detector.stop() == 0
    assert len(support.read_topic(kafka, topic_names["dead_letters"])) == 300
    assert_alerts(kafka, topic_names)


def test_waits_for_the_input_topic_and_then_for_records(kafka: str, topic_names: dict[str, str]) -> None:
    with Detector(kafka, topic_names) as detector:
        support.wait_for(lambda: bool(detector.events(AWAY)), 30, "says what it waits for")
        assert topic_names["transactions"] in detector.log
        assert not detector.is_ready()
        support.create_topics(kafka, [topic_names["transactions"]], 2)
        detector.ready()
        support.produce(kafka, topic_names["transactions"], numbers(100), partitions=[0, 1] * 50)
        wait_settled(kafka, topic_names)
        assert detector.stop() == 0
    assert_alerts(kafka, topic_names)


def test_asked_to_stop_while_waiting(kafka: str, topic_names: dict[str, str]) -> None:
    with Detector(kafka, topic_names) as detector:
        support.wait_for(lambda: bool(detector.events(AWAY)), 30, "says what it waits for")
        assert detector.stop() == 0


def test_broker_away_at_the_start(own_broker: EmbeddedBroker, topic_names: dict[str, str]) -> None:
    kafka = own_broker.bootstrap_servers
    support.create_topics(kafka, [topic_names["transactions"]], 1)
    support.produce(kafka, topic_names["transactions"], numbers(100))
    own_broker.stop()
    with Detector(kafka, topic_names) as detector:
        support.wait_for(lambda: bool(detector.events(AWAY)), 30, "says that the broker is away")
        own_broker.start()
        wait_settled(kafka, topic_names)
        assert detector.stop() == 0
    assert_alerts(kafka, topic_names)


def test_partitions_are_added_while_it_runs(kafka: str, topic_names: dict[str, str]) -> None:
    """Their records are decided, and the journal grows with them."""
    topic, fast = topic_names["transactions"], {"client": {"topic.metadata.refresh.interval.ms": 500}}
    support.create_topics(kafka, [topic], 1)
    support.produce(kafka, topic, numbers(100))
    with Detector(kafka, topic_names, kafka=fast) as detector:
        wait_settled(kafka, topic_names)
        client = support.admin(kafka)
        client.create_partitions([NewPartitions(topic, 3)])[topic].result(30)

        def led() -> bool:
            try:
                return len(support.end_offsets(kafka, topic)) == 3
            except KafkaException:  # a new partition has no leader at once
                return False

        support.wait_for(led, 30, "new partitions")
        support.produce(kafka, topic, numbers(300, 100), partitions=[0, 1, 2] * 100)
        wait_settled(kafka, topic_names)
        assert "more partitions" in detector.log
        assert detector.stop() == 0
    assert len(support.end_offsets(kafka, topic_names["application_id"] + ".journal")) == 3
    assert_alerts(kafka, topic_names)


def test_at_least_once_loses_nothing(kafka: str, topic_names: dict[str, str]) -> None:
    """Killed in mid-stream: every alert is there, word for word, some of them twice."""
    support.create_topics(kafka, [topic_names["transactions"]], 2)
    support.produce(kafka, topic_names["transactions"], numbers(40_000), partitions=[0, 1] * 20_000)
    options = {"guarantee": "at_least_once", "commit_rows_max": 100}
    for _ in range(3):
        with Detector(kafka, topic_names, kafka=options) as detector:
            support.wait_for(lambda d=detector: "task restored" in d.log, 30, "restored")  # type: ignore[misc]
            detector.kill()
    with Detector(kafka, topic_names, kafka=options) as detector:
        wait_settled(kafka, topic_names)
        assert detector.stop() == 0
    assert_nothing_lost(kafka, topic_names)


def test_the_consumer_protocol(kafka: str, topic_names: dict[str, str]) -> None:
    """KIP-848, two processes."""
    options = {"group_protocol": "consumer"}
    support.create_topics(kafka, [topic_names["transactions"]], 2)
    support.produce(kafka, topic_names["transactions"], numbers(2_000), partitions=[0, 1] * 1_000)
    with Detector(kafka, topic_names, kafka=options) as first, Detector(kafka, topic_names, kafka=options) as second:

        def shared() -> bool:
            ready = first.is_ready() and second.is_ready()
            return ready and {one.metric("detector_assigned_partitions") for one in (first, second)} == {1}

        support.wait_for(shared, 60, "one partition each", every_s=0.2)
        support.produce(kafka, topic_names["transactions"], numbers(2_000, 2_000), partitions=[0, 1] * 1_000)
        wait_settled(kafka, topic_names)
        assert first.stop() == 0
        support.produce(kafka, topic_names["transactions"], numbers(2_000, 4_000), partitions=[0, 1] * 1_000)
        wait_settled(kafka, topic_names)
        assert second.stop() == 0
    assert_alerts(kafka, topic_names)


def test_the_journal_speaks_of_every_commit(kafka: str, topic_names: dict[str, str]) -> None:
    """Numbered without gaps, offsets rising to the end, one record a commit and task, in the task's partition."""
    support.create_topics(kafka, [topic_names["transactions"]], 2)
    support.produce(kafka, topic_names["transactions"], numbers(2_000), partitions=[0, 1] * 1_000)
    with Detector(kafka, topic_names, kafka={"commit_rows_max": 50}) as detector:
        wait_settled(kafka, topic_names)
        assert detector.stop() == 0
    journal = support.read_topic(kafka, topic_names["application_id"] + ".journal")
    for partition in (0, 1):
        records = [json.loads(record.value or b"") for record in journal if record.partition == partition]
        offsets = [record["inputs"][f"{topic_names['transactions']}-{partition}"] for record in records]
        assert [record["commit"] for record in records] == list(range(1, len(records) + 1))
        assert offsets == sorted(offsets)
        assert offsets[-1] == 1_000
        assert {record["task"] for record in records} == {partition}
        assert not any({"labels_origin", "cuts", "merged"} & record.keys() for record in records), "no labels are read"
    assert topic_names["labels"] not in support.admin(kafka).list_topics(timeout=10).topics


@pytest.mark.slow
@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_topics_deleted_while_it_runs_are_made_anew(kafka: str, topic_names: dict[str, str], guarantee: str) -> None:
    """Said once; what was not committed is decided again, and is all there."""
    outputs = [topic_names["alerts"], topic_names["dead_letters"]]
    # Without transactions the client holds on to messages for a topic that may yet come, half a minute as it is.
    client = {"topic.metadata.propagation.max.ms": 1_000} if guarantee == "at_least_once" else {}
    options = {"guarantee": guarantee, "client": client}
    support.create_topics(kafka, [topic_names["transactions"]], 2)
    support.produce(kafka, topic_names["transactions"], [*numbers(99), b"broken"], partitions=[0, 1] * 50)
    with Detector(kafka, topic_names, kafka=options) as detector:
        wait_settled(kafka, topic_names)
        support.delete_topics(kafka, outputs)
        support.produce(kafka, topic_names["transactions"], [*numbers(99, 100), b"bad"], partitions=[0, 1] * 50)
        wait_settled(kafka, topic_names)
        (said,) = detector.events(MADE_ANEW)
        assert sorted(said["topics"]) == sorted(outputs)
        assert detector.stop() == 0
    if guarantee == "exactly_once":
        assert_alerts(kafka, topic_names, since=50)
    assert_nothing_lost(kafka, topic_names, since=50)
    assert {letter.value for letter in support.read_topic(kafka, topic_names["dead_letters"])} == {b"bad"}


def test_an_alerts_topic_that_takes_no_alert_ends_with_78(kafka: str, topic_names: dict[str, str]) -> None:
    """Rather than abort and restore for ever; once the topic takes them, nothing is missing and nothing twice."""
    support.create_topics(kafka, [topic_names["transactions"], topic_names["alerts"]], 1)
    support.alter_topic(kafka, topic_names["alerts"], {"max.message.bytes": "100"})
    support.produce(kafka, topic_names["transactions"], numbers(50))
    with Detector(kafka, topic_names) as detector:
        assert detector.ends() == 78
        assert "max.message.bytes" in detector.log
    support.alter_topic(kafka, topic_names["alerts"], {"max.message.bytes": "1048588"})
    with Detector(kafka, topic_names) as detector:
        wait_settled(kafka, topic_names)
        assert detector.stop() == 0
    assert_alerts(kafka, topic_names)
