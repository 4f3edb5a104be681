"""What a live topic holds, read beside the application that works on it.

Law: reading leaves no trace. An assign()-only consumer of its own, under a group id that joins no group, at offsets of
its own; nothing is committed, nothing is made. Only what is readable as `read_committed`, up to the end that the topic
has when reading begins.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from confluent_kafka import IsolationLevel, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from detector.codec.labels import LabelDecoder
from detector.core.labels import LabelBatch
from detector.kafka import admin as topics
from detector.kafka import client
from detector.kafka.errors import BrokerAway, ConfigurationRefused
from detector.kafka.patience import Patience
from detector.kafka.reader import LogReader
from detector.kafka.records import Records, records_of
from detector.observe.health import Health
from detector.settings import Settings

BATCH_ROWS = 8_192


@dataclass(frozen=True, slots=True)
class Stretch:
    """What one partition holds: offsets from `low` up to, not including, `end`."""

    partition: int
    low: int
    end: int


class History:
    """One topic as it is now. `partitions`, `rows`: how many; the latter with control records, so at most."""

    def __init__(self, settings: Settings, topic: str, tell: Callable[[str], None]) -> None:
        """`tell` takes a line for people while no broker answers.

        Raises BrokerAway, ConfigurationRefused where there is no such topic.
        """
        self.topic, self._settings = topic, settings
        servers = settings.kafka.bootstrap_servers
        patience = Patience(threading.Event(), Health(), servers)
        admin = client.new_admin(settings, lambda _error: None)
        self._reader = LogReader(reader_config(settings), patience)
        try:
            # Of all topics: a broker may make one that it is asked about by name.
            self.partitions = topics.first_answer(admin, servers, tell).get(topic, 0)
            if not self.partitions:
                raise ConfigurationRefused(f"expected topic {topic!r} at {servers}, found none; check [topics]")
            lows = _offsets(admin, topic, self.partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
            ends = _offsets(admin, topic, self.partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        except KafkaException as error:
            raise _away(settings, error.args[0]) from None
        self.stretches = [
            Stretch(partition, low, end) for partition, (low, end) in enumerate(zip(lows, ends, strict=True))
        ]
        self.rows = sum(one.end - one.low for one in self.stretches)

    def records(self, past: Callable[[int], bool] = lambda _partition: False) -> Iterator[Records]:
        """One partition after the other, each in log order and left where `past` holds of it. Raises HistoryLost."""
        for one in self.stretches:
            with closing(self._reader.read(self.topic, one.partition, one.low, one.end)) as slices:
                held: list[Message] = []
                for messages in slices:
                    held += messages
                    if len(held) >= BATCH_ROWS:
                        yield records_of(one.partition, held, one.low)
                        held = []
                        if past(one.partition):
                            break
                if held:
                    yield records_of(one.partition, held, one.low)

    def labels(self) -> LabelBatch:
        """All labels of a labels topic, partition by partition; those that cannot be read are passed over."""
        decoder = LabelDecoder(self._settings.mapping)
        found = [decoder.decode(records.payloads, records.record_time_ms).labels for records in self.records()]
        empty = LabelBatch(np.empty(0, np.uint64), np.empty(0, np.bool_), np.empty(0, np.int64))
        every = [empty, *found]
        return LabelBatch(
            np.concatenate([one.identity for one in every]),
            np.concatenate([one.is_fraud for one in every]),
            np.concatenate([one.event_time_ms for one in every]),
        )

    @property
    def cut_off(self) -> list[int]:
        """Partitions whose first records retention has taken: what is left no longer begins where a live run did."""
        return [one.partition for one in self.stretches if one.low > 0]


def reader_config(settings: Settings) -> dict[str, object]:
    """Of the consumer: that of a restore, under names that tell it apart in the broker's logs."""
    config = client.reader_config(settings, lambda _error: None)
    return config | {
        "client.id": f"{settings.application_id}-backtest",
        "group.id": f"{settings.application_id}-backtest",
    }


def _offsets(admin: AdminClient, topic: str, partitions: int, which: OffsetSpec) -> list[int]:
    asked = {TopicPartition(topic, partition): which for partition in range(partitions)}
    told = admin.list_offsets(
        asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=topics.REQUEST_TIMEOUT_S
    )
    return [int(told[where].result().offset) for where in asked]


def _away(settings: Settings, error: KafkaError) -> BrokerAway | ConfigurationRefused:
    if error.code() in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED):
        return ConfigurationRefused(f"expected to be allowed to read the topic's offsets, found {error.str()}")
    return topics.broker_away(settings.kafka.bootstrap_servers, error)
