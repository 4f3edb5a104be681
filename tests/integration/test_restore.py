"""Law (restore ≡ replay): snapshot + tail of the log gives the state that the whole log gives; and where it cannot, the
detector says so and ends, rather than go on from a wrong state.
"""

from __future__ import annotations

import time

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from detector.kafka import journal
from tests.integration import support
from tests.integration.counting import numbers
from tests.integration.process import Detector
from tests.integration.truth import assert_alerts, settled, wait_settled

OFTEN = {"interval_s": 1, "interval_rows": 1_000}


def settle(kafka: str, names: dict[str, str], **options: object) -> None:
    """Run until the input is settled, and a snapshot is taken where they are often, then kill."""
    with Detector(kafka, names, **options) as detector:  # type: ignore[arg-type]
        wait_settled(kafka, names)
        if (options.get("snapshots") or {}) == OFTEN:
            support.wait_for(lambda: detector.metric("detector_snapshot_bytes") > 0, 30, "a snapshot")
            time.sleep(1.5)
        detector.kill()


def run(kafka: str, names: dict[str, str], **options: object) -> tuple[int, str, list[dict[str, object]]]:
    """Run until it ends by itself, or the input is settled and it is stopped; exit code, log, restores."""
    with Detector(kafka, names, **options) as detector:  # type: ignore[arg-type]

        def done() -> bool:
            return detector.process.poll() is not None or (detector.is_ready() and settled(kafka, names))

        support.wait_for(done, 60, "ended or settled", every_s=0.2)
        code = detector.process.poll()
        code = detector.stop() if code is None else code
        return code, detector.log, detector.events("task restored")


@pytest.fixture
def one_partition(kafka: str, topic_names: dict[str, str]) -> dict[str, str]:
    support.create_topics(kafka, [topic_names["transactions"]], 1)
    support.produce(kafka, topic_names["transactions"], numbers(3_000))
    return topic_names


def test_without_a_snapshot_the_whole_log_is_replayed(kafka: str, one_partition: dict[str, str]) -> None:
    settle(kafka, one_partition)
    support.produce(kafka, one_partition["transactions"], numbers(1_000, 3_000))
    code, _, (restore,) = run(kafka, one_partition)
    assert (code, restore["snapshot"], restore["rows_replayed"], restore["offset"]) == (0, None, 3_000, 3_000)
    assert_alerts(kafka, one_partition)


def test_with_a_snapshot_only_the_tail_is(kafka: str, one_partition: dict[str, str]) -> None:
    """A snapshot of several chunks, sent over several transactions; on an idle topic too."""
    settle(kafka, one_partition, snapshots=OFTEN, pad_bytes=20_000_000)
    support.produce(kafka, one_partition["transactions"], numbers(1_000, 3_000))
    code, log, (restore,) = run(kafka, one_partition, snapshots=OFTEN, pad_bytes=20_000_000)
    assert code == 0
    assert restore["snapshot"], log
    assert restore["rows_replayed"] == 0
    assert_alerts(kafka, one_partition)


def test_stopping_takes_a_snapshot(kafka: str, one_partition: dict[str, str]) -> None:
    assert run(kafka, one_partition)[0] == 0
    code, _, (restore,) = run(kafka, one_partition)
    assert (code, restore["snapshot"], restore["rows_replayed"]) == (0, 1, 0)


def test_a_damaged_snapshot_is_replaced_by_the_log(kafka: str, one_partition: dict[str, str]) -> None:
    """Its chunks are deleted: said so, and the log replayed from the beginning."""
    assert run(kafka, one_partition)[0] == 0
    snapshots = one_partition["application_id"] + ".snapshots"
    support.alter_topic(kafka, snapshots, {"cleanup.policy": "delete"})
    support.delete_records(kafka, snapshots, 0)
    support.produce(kafka, one_partition["transactions"], numbers(1_000, 3_000))
    code, log, (restore,) = run(kafka, one_partition)
    assert (code, restore["snapshot"], restore["rows_replayed"]) == (0, None, 3_000)
    assert "snapshot is not whole" in log
    assert_alerts(kafka, one_partition)


def test_history_that_retention_took_ends_with_65(kafka: str, one_partition: dict[str, str]) -> None:
    """Loudly, with the remedy; and the remedy works: the retained log is folded anew, nothing published twice."""
    settle(kafka, one_partition)
    before = support.read_topic(kafka, one_partition["alerts"])
    support.delete_records(kafka, one_partition["transactions"], 0, before=1_000)
    code, log, _ = run(kafka, one_partition)
    assert code == 65
    assert "--rebuild" in log
    assert "retention.ms" in log
    code, _, (restore,) = run(kafka, one_partition, rebuild=True)
    assert (code, restore["rows_replayed"]) == (0, 2_000)
    assert support.read_topic(kafka, one_partition["alerts"]) == before
    code, _, (restore,) = run(kafka, one_partition)
    assert (code, restore["offset"]) == (0, 3_000)


def test_markers_that_retention_took_are_no_history_lost(kafka: str, topic_names: dict[str, str]) -> None:
    """Of producers' transactions: the detector reads past them, and an emptied log lacks nothing."""
    topic = topic_names["transactions"]
    support.create_topics(kafka, [topic], 1)
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": topic})
    producer.init_transactions(30)
    for settle in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        for value in numbers(100):
            producer.produce(topic, value)
        producer.flush(30)
        settle(30)
    with Detector(kafka, topic_names, snapshots=OFTEN) as detector:
        wait_settled(kafka, topic_names)
        assert detector.stop() == 0
    support.delete_records(kafka, topic, 0)
    code, log, (restore,) = run(kafka, topic_names)
    assert (code, restore["offset"], restore["rows_replayed"]) == (0, 202, 0), log


def test_records_deleted_before_they_were_read_end_with_65(kafka: str, one_partition: dict[str, str]) -> None:
    assert run(kafka, one_partition)[0] == 0
    support.produce(kafka, one_partition["transactions"], numbers(1_000, 3_000))
    support.delete_records(kafka, one_partition["transactions"], 0, before=3_500)
    code, log, _ = run(kafka, one_partition)
    assert code == 65
    assert "--rebuild" in log


def write_journal(kafka: str, names: dict[str, str], offset: int, topic_ids: dict[str, str]) -> None:
    """As if a run had read up to `offset`."""
    name, inputs = names["application_id"] + ".journal", {names["transactions"] + "-0": offset}
    record = journal.JournalRecord(1, 0, 1, inputs, 0, None, "state-1", "spec", "exactly_once", topic_ids=topic_ids)
    support.create_topics(kafka, [name])
    support.produce(kafka, name, [journal.encode(record)], keys=[journal.key(0)])


def test_a_topic_made_anew_ends_with_65(kafka: str, one_partition: dict[str, str]) -> None:
    """However many records it holds by then; a rebuild decides them all."""
    cluster = support.admin(kafka).list_topics(timeout=10).cluster_id
    write_journal(kafka, one_partition, 1_000, {f"{cluster}/{one_partition['transactions']}": "the one before"})
    code, log, _ = run(kafka, one_partition)
    assert code == 65
    assert "--rebuild" in log
    code, log, (restore,) = run(kafka, one_partition, rebuild=True)
    assert (code, restore["offset"], restore["rows_replayed"]) == (0, 0, 0), log
    assert_alerts(kafka, one_partition)


def test_a_log_that_ends_before_what_was_read_ends_with_65(kafka: str, one_partition: dict[str, str]) -> None:
    """Rather than wait for the rest for ever; a rebuild goes on from the end that there is."""
    write_journal(kafka, one_partition, 3_500, {})
    code, log, _ = run(kafka, one_partition)
    assert code == 65
    assert "ends at 3000" in log
    code, log, (restore,) = run(kafka, one_partition, rebuild=True)
    assert (code, restore["offset"], restore["rows_replayed"]) == (0, 3_000, 3_000), log


def test_a_state_of_another_shape_ends_with_78(kafka: str, one_partition: dict[str, str]) -> None:
    assert run(kafka, one_partition)[0] == 0
    code, log, _ = run(kafka, one_partition, state_fingerprint="state-2")
    assert code == 78
    assert "counting changed since" in log
    assert "--rebuild" in log
    assert "application_id" in log
    code, _, (restore,) = run(kafka, one_partition, state_fingerprint="state-2", rebuild=True)
    assert (code, restore["rows_replayed"], restore["snapshot"]) == (0, 3_000, None)
    support.produce(kafka, one_partition["transactions"], numbers(1_000, 3_000))
    assert run(kafka, one_partition, state_fingerprint="state-2")[0] == 0
    assert_alerts(kafka, one_partition)


def move_group(kafka: str, names: dict[str, str], offset: int) -> None:
    client = Consumer({"bootstrap.servers": kafka, "group.id": names["application_id"], "enable.auto.commit": False})
    client.commit(offsets=[TopicPartition(names["transactions"], 0, offset)], asynchronous=False)
    client.close()


def test_offsets_moved_from_outside_end_with_78(kafka: str, one_partition: dict[str, str]) -> None:
    assert run(kafka, one_partition)[0] == 0
    move_group(kafka, one_partition, 1_234)
    code, log, _ = run(kafka, one_partition)
    assert code == 78
    assert "1234" in log
    code, _, (restore,) = run(kafka, one_partition, rebuild=True)
    assert (code, restore["offset"], restore["rows_replayed"]) == (0, 1_234, 1_234)


def test_a_group_whose_offsets_expired_goes_on_from_the_journal(kafka: str, one_partition: dict[str, str]) -> None:
    assert run(kafka, one_partition)[0] == 0
    support.delete_group(kafka, one_partition["application_id"])
    support.produce(kafka, one_partition["transactions"], numbers(1_000, 3_000))
    code, _, (restore,) = run(kafka, one_partition)
    assert (code, restore["offset"]) == (0, 3_000)
    assert_alerts(kafka, one_partition)


def test_retention_shorter_than_two_snapshot_intervals_ends_with_78(kafka: str, topic_names: dict[str, str]) -> None:
    support.create_topics(kafka, [topic_names["transactions"]], 1, {"retention.ms": "119000"})
    with Detector(kafka, topic_names, snapshots={"interval_s": 60}) as detector:
        assert detector.ends() == 78
        assert "retention.ms=119000" in detector.log
        assert "snapshots.interval_s to 59" in detector.log


def test_a_journal_that_cannot_be_read_can_be_rebuilt(kafka: str, one_partition: dict[str, str]) -> None:
    settle(kafka, one_partition)
    journal = f"{one_partition['application_id']}.journal"
    support.produce(kafka, journal, [b"no journal record"], keys=[b"?"], partitions=[0])
    assert run(kafka, one_partition)[0] == 78
    code, log, _ = run(kafka, one_partition, rebuild=True)
    assert code == 0, log
    assert_alerts(kafka, one_partition)
