"""The embedded broker is a real Kafka: transactions, fencing, data that outlives a crash; and nothing is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from detector.kafka.embedded import EmbeddedBroker, EmbeddedBrokerError
from tests.integration import support

OWNER = """
import sys, time
from detector.kafka.embedded import EmbeddedBroker
broker = EmbeddedBroker()
broker.start()
print(broker.pid, broker.log_file.parent, flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def broker(broker_jars: list[Path]) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as running:
        yield running


def transactional(broker: EmbeddedBroker, name: str) -> Producer:
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "transactional.id": name, "log_level": 0})
    producer.init_transactions(30)
    return producer


def values(broker: EmbeddedBroker, topic: str, read_committed: bool = True) -> list[bytes | None]:
    return [record.value for record in support.read_topic(broker.bootstrap_servers, topic, read_committed)]


def lives(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet reaped does not."""
    ps = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(ps.stdout.strip()) and not ps.stdout.strip().startswith("Z")


def test_read_committed_hides_aborted_and_open_transactions(
    broker: EmbeddedBroker, unique_name: Callable[[str], str]
) -> None:
    topic = unique_name("isolation")
    support.create_topics(broker.bootstrap_servers, [topic])
    producer = transactional(broker, topic)
    for value, end in ((b"kept", producer.commit_transaction), (b"dropped", producer.abort_transaction)):
        producer.begin_transaction()
        producer.produce(topic, value)
        producer.flush(30)
        end(30)
    producer.begin_transaction()
    producer.produce(topic, b"open")
    producer.flush(30)

    assert values(broker, topic) == [b"kept"]
    assert values(broker, topic, read_committed=False) == [b"kept", b"dropped", b"open"]
    # one record and one control record each for the two that ended; the open one holds the stable end back
    assert support.end_offsets(broker.bootstrap_servers, topic) == {0: 4}
    assert support.end_offsets(broker.bootstrap_servers, topic, read_committed=False) == {0: 5}

    producer.commit_transaction(30)
    support.wait_for(lambda: values(broker, topic) == [b"kept", b"open"], 20, "the marker of the commit is written")
    assert support.end_offsets(broker.bootstrap_servers, topic) == {0: 6}


def test_a_second_producer_fences_the_first(broker: EmbeddedBroker, unique_name: Callable[[str], str]) -> None:
    topic = unique_name("fencing")
    support.create_topics(broker.bootstrap_servers, [topic])
    first = transactional(broker, topic)
    first.begin_transaction()
    first.produce(topic, b"zombie")
    first.flush(30)
    second = transactional(broker, topic)
    with pytest.raises(KafkaException) as caught:
        first.commit_transaction(30)
    assert caught.value.args[0].fatal()
    second.begin_transaction()
    second.produce(topic, b"successor")
    second.commit_transaction(30)
    assert values(broker, topic) == [b"successor"]


def test_topics_are_never_made_by_accident(broker: EmbeddedBroker, unique_name: Callable[[str], str]) -> None:
    topic, refused = unique_name("misspelt"), list[KafkaError]()
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "message.timeout.ms": 2000, "log_level": 0})
    producer.produce(topic, b"x", on_delivery=lambda error, _: refused.append(error))
    assert producer.flush(20) == 0
    assert refused
    assert all(refused)
    assert topic not in support.admin(broker.bootstrap_servers).list_topics(timeout=10).topics


def test_kill_and_stop_keep_data_and_port(own_broker: EmbeddedBroker, unique_name: Callable[[str], str]) -> None:
    topic, address = unique_name("kept"), own_broker.bootstrap_servers
    support.create_topics(address, [topic], partitions=2)
    sent = [b"%d" % number for number in range(500)]
    support.produce(address, topic, sent, partitions=[number % 2 for number in range(500)])
    open_producer = transactional(own_broker, topic)
    open_producer.begin_transaction()
    open_producer.produce(topic, b"never committed", partition=0)
    open_producer.flush(30)

    for end in (own_broker.kill, own_broker.stop):
        pid = own_broker.pid
        end()
        assert not own_broker.running
        assert not lives(pid)
        with pytest.raises(EmbeddedBrokerError, match="down"):
            _ = own_broker.pid
        own_broker.start()
        assert own_broker.bootstrap_servers == address
        assert own_broker.pid != pid
        assert sorted(int(value or 0) for value in values(own_broker, topic)) == list(range(500))
    successor = transactional(own_broker, topic)  # aborts what the one before left open
    successor.begin_transaction()
    successor.produce(topic, b"500", partition=0)
    successor.commit_transaction(30)
    assert sorted(int(value or 0) for value in values(own_broker, topic)) == list(range(501))


def test_a_given_folder_is_kept_and_can_be_opened_again(tmp_path: Path, unique_name: Callable[[str], str]) -> None:
    topic = unique_name("reopened")
    with EmbeddedBroker(tmp_path / "broker") as first:
        support.create_topics(first.bootstrap_servers, [topic])
        support.produce(first.bootstrap_servers, topic, [b"before"])
    with EmbeddedBroker(tmp_path / "broker") as second:
        assert values(second, topic) == [b"before"]


def test_nothing_is_left_after_the_end() -> None:
    with EmbeddedBroker() as broker:
        pid, folder = broker.pid, broker.log_file.parent
        assert lives(pid)
    assert not lives(pid)
    assert not folder.exists()


def test_nothing_is_left_when_the_owner_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid, folder = owner.stdout.readline().split()
        assert lives(int(pid))
        owner.send_signal(signal.SIGKILL)
    support.wait_for(lambda: not lives(int(pid)), 10, f"end of process {pid}")
    support.wait_for(lambda: not Path(folder).exists(), 10, f"removal of {folder}")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a signal for the death of a parent")
def test_the_broker_does_not_outlive_its_guard() -> None:
    with EmbeddedBroker() as broker:
        pid = broker.pid
        ps = subprocess.run(["ps", "-o", "ppid=", "-p", str(pid)], capture_output=True, text=True, check=True)
        os.kill(int(ps.stdout), signal.SIGKILL)
        support.wait_for(lambda: not lives(pid), 10, f"end of process {pid}")


def test_the_broker_outlives_the_thread_that_started_it() -> None:
    broker = EmbeddedBroker()
    try:
        thread = threading.Thread(target=broker.start)
        thread.start()
        thread.join()
        assert support.admin(broker.bootstrap_servers).list_topics(timeout=10).brokers
        assert broker.running
    finally:
        broker.close()


def test_a_failed_start_shows_the_end_of_the_log() -> None:
    broker = EmbeddedBroker(properties={"num.io.threads": "none"})
    with pytest.raises(EmbeddedBrokerError, match=r"(?s)end of its log:.*num\.io\.threads"), broker:
        pass
    assert not broker.running


def test_a_port_that_another_broker_took_is_left_alone(broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may take a free port between our look and our start; its answers must not pass for ours."""
    from detector.kafka import embedded_config

    real, offered = embedded_config.free_ports, 0

    def taken_once(count: int) -> list[int]:
        nonlocal offered
        offered += 1
        taken = int(broker.bootstrap_servers.split(":")[1])
        return [taken, *real(count)][:count] if offered == 1 else real(count)

    monkeypatch.setattr(embedded_config, "free_ports", taken_once)
    with EmbeddedBroker() as second:
        assert offered == 2
        assert second.bootstrap_servers != broker.bootstrap_servers
        assert support.admin(second.bootstrap_servers).list_topics(timeout=10).brokers


def test_the_command_runs_until_sigterm(tmp_path: Path) -> None:
    port_file = tmp_path / "address"
    command = [sys.executable, "-m", "detector.kafka.embedded", "--port-file", str(port_file), "--with-parent"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = port_file.read_text().strip()
        assert f"answers at {address} (process " in line
        pid = int(line.split("process ")[1].split(",")[0])
        assert support.admin(address).list_topics(timeout=10).brokers
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert not port_file.exists()
    assert not lives(pid)
