"""What tests of a broker need over and over: make topics, write, read a topic to its end, wait. No fixtures here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Producer
from confluent_kafka import TopicPartition as At
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

Headers = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True)
class Record:
    """One record as it stands in a topic; `timestamp_ms` is Unix time."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp_ms: int


def admin(bootstrap_servers: str) -> AdminClient:
    """An admin client."""
    return AdminClient({"bootstrap.servers": bootstrap_servers})


def create_topics(
    bootstrap_servers: str, names: Iterable[str], partitions: int = 1, config: Mapping[str, str] | None = None
) -> None:
    """Make topics and wait until they can be used. Raises KafkaException when one exists."""
    wanted = [NewTopic(name, partitions, 1, config=dict(config or {})) for name in names]
    client = admin(bootstrap_servers)
    for future in client.create_topics(wanted, operation_timeout=30).values():
        future.result()
    names_wanted = {topic.topic for topic in wanted}

    def led() -> bool:
        known = client.list_topics(timeout=10).topics
        parts = [part for name in names_wanted & known.keys() for part in known[name].partitions.values()]
        return len(parts) == partitions * len(names_wanted) and all(part.leader >= 0 for part in parts)

    wait_for(led, 30, f"leaders of {sorted(names_wanted)}")


@contextmanager
def writing(bootstrap_servers: str, write: Callable[[Producer, int], None], per_s: int) -> Iterator[None]:
    """`write(client, value)` for 0, 1, 2, … until the block is left, so many a second; then all are acknowledged."""
    ended = threading.Event()

    def run() -> None:
        client = Producer({"bootstrap.servers": bootstrap_servers, "enable.idempotence": True, "linger.ms": 5})
        value = 0
        while not ended.wait(0.05):
            for _ in range(per_s // 20):
                write(client, value)
                value += 1
            client.poll(0)
        assert client.flush(60) == 0

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def produce(
    bootstrap_servers: str,
    topic: str,
    values: Iterable[bytes | None],
    keys: Iterable[bytes | None] | None = None,
    partitions: Iterable[int] | None = None,
    headers: Iterable[Headers] | None = None,
    timestamps_ms: Iterable[int] | None = None,
) -> list[tuple[int, int]]:
    """Write records, in order, and wait until all are acknowledged; returns (partition, offset) of each.

    Optional columns run alongside `values`. Without partitions, keyed records go where the key's CRC32 says.
    """
    client = Producer(
        {
            "bootstrap.servers": bootstrap_servers,
            "enable.idempotence": True,
            "linger.ms": 5,
            "partitioner": "consistent_random",
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    places: dict[int, tuple[int, int]] = {}
    errors: list[KafkaError] = []

    def delivered(index: int) -> Callable[..., None]:
        def note(error: KafkaError | None, message: object) -> None:
            if error is not None:
                errors.append(error)
            else:
                places[index] = (message.partition(), message.offset())  # type: ignore[attr-defined]

        return note

    columns = {"key": keys, "partition": partitions, "headers": headers, "timestamp": timestamps_ms}
    given = {name: iter(column) for name, column in columns.items() if column is not None}
    count = 0
    for count, value in enumerate(values, start=1):
        row = {name: next(column) for name, column in given.items()}
        client.produce(
            topic,
            value,
            **{k: list(v) if k == "headers" else v for k, v in row.items()},
            on_delivery=delivered(count - 1),
        )
        if count % 1000 == 0:
            client.poll(0)
    left = client.flush(60)
    if errors or left:
        raise AssertionError(f"{len(errors)} of {count} records for {topic} refused ({errors[:1]}), {left} not sent")
    return [places[index] for index in range(count)]


def end_offsets(bootstrap_servers: str, topic: str, read_committed: bool = True) -> dict[int, int]:
    """Next offset of each partition; with `read_committed`, that of the first open transaction if there is one."""
    client = admin(bootstrap_servers)
    parts = client.list_topics(topic, timeout=10).topics[topic].partitions
    level = IsolationLevel.READ_COMMITTED if read_committed else IsolationLevel.READ_UNCOMMITTED
    futures = client.list_offsets({At(topic, part): OffsetSpec.latest() for part in parts}, isolation_level=level)
    return {at.partition: future.result(30).offset for at, future in futures.items()}


def read_topic(bootstrap_servers: str, topic: str, read_committed: bool = True, timeout_s: float = 60) -> list[Record]:
    """Every record that the topic holds now, by partition and offset.

    The end is the end offset at the time of the call, not the last record: control records of transactions take
    offsets too. Raises AssertionError when the end is not reached in time.
    """
    ends = {part: end for part, end in end_offsets(bootstrap_servers, topic, read_committed).items() if end > 0}
    client = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": f"reader-of-{topic}",  # needed by the client, never joined
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed" if read_committed else "read_uncommitted",
            "auto.offset.reset": "earliest",
        }
    )
    found: list[Record] = []
    try:
        client.assign([At(topic, part, 0) for part in ends])
        deadline = time.monotonic() + timeout_s
        open_parts = set(ends)
        while open_parts:
            if time.monotonic() > deadline:
                raise AssertionError(f"{topic}: partitions {sorted(open_parts)} not read to {ends} in {timeout_s} s")
            for message in client.consume(5000, 0.2):
                error, part = message.error(), message.partition()
                if error is None and message.offset() < ends[part]:
                    found.append(
                        Record(
                            part,
                            message.offset(),
                            message.key(),
                            message.value(),
                            tuple(message.headers() or ()),
                            message.timestamp()[1],
                        )
                    )
                elif error is not None and error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                if message.offset() + (error is None) >= ends[part]:
                    open_parts.discard(part)
    finally:
        client.close()
    return sorted(found, key=lambda record: (record.partition, record.offset))


def committed_offsets(bootstrap_servers: str, group: str, topic: str) -> dict[int, int]:
    """Next offset that a group has committed for each partition; partitions without one are left out.

    Asked by a consumer that joins nothing. An admin client that asks while the coordinator is not up yet takes the
    process along: librdkafka 2.16 reaches for the group that only consumers have (SIGSEGV in rd_kafka_cgrp_op).
    """
    client = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": group, "enable.auto.commit": False})
    try:
        parts = client.list_topics(topic, timeout=10).topics[topic].partitions
        found = client.committed([At(topic, part) for part in parts], timeout=30) if parts else []
    finally:
        client.close()
    for at in found:
        if at.error is not None:
            raise KafkaException(at.error)
    return {at.partition: at.offset for at in found if at.offset >= 0}


def wait_for(condition: Callable[[], bool], timeout_s: float, what: str, every_s: float = 0.05) -> None:
    """Ask until the condition holds. Raises AssertionError naming `what` when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout_s} s")
        time.sleep(every_s)


def alter_topic(bootstrap_servers: str, topic: str, config: Mapping[str, str]) -> None:
    """Change settings of a topic."""
    entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in config.items()]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    client = admin(bootstrap_servers)
    client.incremental_alter_configs([resource])[resource].result(30)


def delete_records(bootstrap_servers: str, topic: str, partition: int, before: int = -1) -> None:
    """Delete a partition's records below an offset; all of them by default."""
    client = admin(bootstrap_servers)
    (future,) = client.delete_records([At(topic, partition, before)]).values()
    future.result(30)


def delete_topics(bootstrap_servers: str, names: Sequence[str]) -> None:
    """Delete topics with all that they hold."""
    client = admin(bootstrap_servers)
    for future in client.delete_topics([*names], operation_timeout=30).values():
        future.result(30)


def delete_group(bootstrap_servers: str, group: str) -> None:
    """Delete a group and its offsets; it must have no members."""
    client = admin(bootstrap_servers)
    client.delete_consumer_groups([group])[group].result(30)
