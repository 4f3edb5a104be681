"""Law (exactly once): after any kill, fence, freeze, rebalance or broker loss the alerts read as `read_committed` equal
those of an undisturbed run: nothing lost, nothing twice, same content.

A test for each row of the table in `detector/kafka/transaction.py` and `rebalance.py`.
"""

from __future__ import annotations

import random
import threading
import time
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import pytest
from confluent_kafka import Producer

from detector.codec.encode import OutMessage
from detector.kafka.embedded import EmbeddedBroker
from detector.kafka.errors import Rewind
from detector.kafka.outbox import Ledger, Output
from detector.kafka.patience import AWAY, BACK, Patience
from detector.kafka.transaction import ExactlyOnce
from detector.observe.health import Health
from tests.integration import support
from tests.integration.counting import numbers
from tests.integration.process import Detector
from tests.integration.truth import assert_alerts, wait_settled

PARTITIONS = 4


def flow(kafka: str, topic: str, partitions: int = PARTITIONS, per_s: int = 2_000) -> AbstractContextManager[None]:
    """Numbers, spread over the partitions, until the block is left."""
    return support.writing(
        kafka, lambda client, value: client.produce(topic, b"%d" % value, partition=value % partitions), per_s
    )


def spread(count: int) -> list[int]:
    return [row % PARTITIONS for row in range(count)]


def make_input(kafka: str, names: dict[str, str], partitions: int = PARTITIONS) -> None:
    support.create_topics(kafka, [names["transactions"]], partitions)


@pytest.mark.parametrize("seed", [1, 2])
def test_law_exactly_once_under_kill(kafka: str, topic_names: dict[str, str], seed: int) -> None:
    """Killed with -9 at moments that the seed chooses: while restoring, in mid-transaction, in mid-snapshot."""
    chance = random.Random(seed)
    make_input(kafka, topic_names)
    snapshots = {"interval_s": 1, "interval_rows": 1_000}
    with flow(kafka, topic_names["transactions"]):
        for kill in range(4):
            with Detector(kafka, topic_names, snapshots=snapshots, pad_bytes=2_000_000) as detector:
                detector.ready() if kill % 2 else time.sleep(chance.uniform(1.5, 3))
                time.sleep(chance.uniform(0.0, 1.5))
                detector.kill()
    with Detector(kafka, topic_names, snapshots=snapshots, pad_bytes=2_000_000) as detector:
        wait_settled(kafka, topic_names)
        assert detector.stop() == 0
    assert_alerts(kafka, topic_names)


def test_two_processes_join_and_leave(kafka: str, topic_names: dict[str, str]) -> None:
    """A second one joins, the first leaves in order, comes back, and the second is killed."""
    make_input(kafka, topic_names)
    with ExitStack() as stack, flow(kafka, topic_names["transactions"]):
        first = stack.enter_context(Detector(kafka, topic_names)).ready()
        time.sleep(1)
        second = stack.enter_context(Detector(kafka, topic_names)).ready()
        wait_for_partitions(second, PARTITIONS // 2)
        time.sleep(1)
        assert first.stop() == 0
        first = stack.enter_context(Detector(kafka, topic_names)).ready()
        time.sleep(1)
        second.kill()
        time.sleep(1)
        wait_for_partitions(first, PARTITIONS)
    with Detector(kafka, topic_names) as detector:
        wait_settled(kafka, topic_names)
        assert detector.stop() == 0
    assert_alerts(kafka, topic_names)


def wait_for_partitions(detector: Detector, count: int) -> None:
    def there() -> bool:
        return detector.is_ready() and detector.metric("detector_assigned_partitions") == count

    support.wait_for(there, 60, f"{count} partitions")


def test_partitions_are_lost_to_another_while_frozen(kafka: str, topic_names: dict[str, str]) -> None:
    """Longer silent than the session: what it had open is never committed, and it comes back as a new member."""
    make_input(kafka, topic_names)
    with ExitStack() as stack, flow(kafka, topic_names["transactions"]):
        first = stack.enter_context(Detector(kafka, topic_names)).ready()
        second = stack.enter_context(Detector(kafka, topic_names)).ready()
        time.sleep(1)
        first.freeze()
        wait_for_partitions(second, PARTITIONS)
        time.sleep(1)
        first.thaw()
        wait_for_partitions(first, PARTITIONS // 2)
        support.wait_for(
            lambda: bool(first.events("partitions lost") or first.events("transaction gone; restoring")), 30, "lost"
        )
        time.sleep(1)
    with Detector(kafka, topic_names) as detector:
        wait_settled(kafka, topic_names)
        assert detector.stop() == 0
    assert_alerts(kafka, topic_names)


def gone(detector: Detector) -> list[dict[str, Any]]:
    """What the detector said of transactions that it lost."""
    return detector.events("transaction gone; restoring")


def test_fenced_by_a_twin(kafka: str, topic_names: dict[str, str]) -> None:
    """Somebody else opens the transactional id: the producer is thrown away, the tasks restore, the twin is fenced."""
    make_input(kafka, topic_names)
    own = topic_names["application_id"]
    with (
        flow(kafka, topic_names["transactions"]),
        Detector(kafka, topic_names, kafka={"instance_id": "one"}) as detector,
    ):
        detector.ready()
        for _ in range(2):
            before = len(gone(detector))
            twin = Producer({"bootstrap.servers": kafka, "transactional.id": f"{own}-one"})
            twin.init_transactions(30)
            support.wait_for(lambda before=before: len(gone(detector)) > before, 30, "fenced")
            time.sleep(1)
            support.wait_for(detector.is_ready, 30, "ready again")
        assert {event["cause"] for event in gone(detector)} == {"fatal"}
        assert len(gone(detector)) <= 4, "each twin is let in, instead of fenced while it opens the id"
    with Detector(kafka, topic_names) as detector:
        wait_settled(kafka, topic_names)
        assert detector.metric('detector_restores_total{cause="assigned"}') == PARTITIONS
        assert detector.stop() == 0
    assert_alerts(kafka, topic_names)


def test_fenced_with_messages_on_their_way(kafka: str, topic_names: dict[str, str]) -> None:
    """Their delivery reports come while the client raises what fenced it."""
    make_input(kafka, topic_names)
    topic, application_id = topic_names["transactions"], topic_names["application_id"]
    own = [f"{application_id}.{name}" for name in ("journal", "snapshots")]
    ledger = Ledger(topic, *own, "spec-1", "state-1", "exactly_once")
    config = {"bootstrap.servers": kafka, "transactional.id": application_id, "log_level": 0}

    def opened() -> ExactlyOnce:
        outbox = ExactlyOnce(config, ledger, Patience(threading.Event(), Health(), kafka))
        outbox.open()
        return outbox

    first = opened()
    first.produce(Output(topic, OutMessage(None, b"0", []), 0))
    first.flush()
    second = opened()
    for value in numbers(5):
        first.produce(Output(topic, OutMessage(None, value, []), 1))
    with pytest.raises(Rewind, match="_FENCED"):
        first.flush()
    second.close()


def test_two_with_one_instance_id_end_with_78(kafka: str, topic_names: dict[str, str]) -> None:
    """Twins would fence each other for ever: one of them says what is wrong and ends."""
    make_input(kafka, topic_names)
    with ExitStack() as stack, flow(kafka, topic_names["transactions"]):
        twins = [stack.enter_context(Detector(kafka, topic_names, kafka={"instance_id": "same"})) for _ in range(2)]
        support.wait_for(lambda: any(twin.process.poll() == 78 for twin in twins), 60, "one gives up")
        assert any("kafka.instance_id" in twin.log for twin in twins)
    with Detector(kafka, topic_names) as detector:
        wait_settled(kafka, topic_names)
        assert detector.stop() == 0
    assert_alerts(kafka, topic_names)


def test_broker_dies_and_comes_back(own_broker: EmbeddedBroker, topic_names: dict[str, str]) -> None:
    """In mid-run, twice: said so once, and nothing lost."""
    kafka = own_broker.bootstrap_servers
    make_input(kafka, topic_names)
    support.produce(kafka, topic_names["transactions"], numbers(20_000), partitions=spread(20_000))
    with Detector(kafka, topic_names, kafka={"commit_rows_max": 500}) as detector:
        detector.ready()
        for _ in range(2):
            own_broker.kill()
            support.wait_for(lambda: not detector.is_ready(), 30, "not ready while the broker is away")
            own_broker.start()
            support.wait_for(detector.is_ready, 60, "ready again")
            support.produce(kafka, topic_names["transactions"], numbers(4_000), partitions=spread(4_000))
            time.sleep(0.3)
        wait_settled(kafka, topic_names)
        assert len(detector.events(AWAY)) <= 6
        assert detector.events(BACK)
        support.produce(kafka, topic_names["transactions"], numbers(20_000), partitions=spread(20_000))
        own_broker.kill()
        assert detector.stop(60) == 0, "ends in order though it cannot commit"
    own_broker.start()
    with Detector(kafka, topic_names) as detector:
        wait_settled(kafka, topic_names)
        assert detector.stop() == 0
    assert_alerts(kafka, topic_names)


def test_transaction_that_must_be_aborted(kafka: str, topic_names: dict[str, str]) -> None:
    """A message that the broker refuses takes its transaction with it; the tasks restore and do it again."""
    make_input(kafka, topic_names, 1)
    with Detector(kafka, topic_names) as detector:
        detector.ready()
        support.alter_topic(kafka, topic_names["dead_letters"], {"max.message.bytes": "2000"})
        letter = random.Random(1).randbytes(5_000)  # not to be compressed below the limit
        support.produce(kafka, topic_names["transactions"], [*numbers(500), letter, *numbers(500, 500)])
        wait_settled(kafka, topic_names)
        assert detector.metric('detector_commits_total{outcome="aborted"}') >= 1
        assert detector.metric('detector_restores_total{cause="aborted"}') >= 1
        assert detector.stop() == 0
    assert_alerts(kafka, topic_names)
    (found,) = support.read_topic(kafka, topic_names["dead_letters"])
    assert found.value == b""
    assert dict(found.headers)["detector.reject.left_out_bytes"] == b"5000"
