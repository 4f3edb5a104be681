"""Alerts and labels as any reader sees them: from their topics, `read_committed`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

REQUEST_TIMEOUT_S = 10.0
READ_ROWS_MAX = 2_000


@dataclass(frozen=True, slots=True)
class Heard:
    """One record: `role` is `alerts` or `labels`, `value` its JSON."""

    role: str
    value: dict[str, Any]


class Feed:
    """Reads both topics from their beginning. Raises KafkaException when the topics cannot be asked for."""

    def __init__(self, bootstrap_servers: str, topics: Mapping[str, str], group: str) -> None:
        self._role = {topics[role]: role for role in ("alerts", "labels")}
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": group,  # the client wants one; it is never joined
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 100,
                "log_level": 0,
            }
        )
        known = self._consumer.list_topics(timeout=REQUEST_TIMEOUT_S).topics
        self._consumer.assign(
            [TopicPartition(topic, part, 0) for topic in self._role for part in known[topic].partitions]
        )

    def read(self, wait_s: float) -> Iterator[Heard]:
        """What has come, waiting at most so long for the first; labels before the alerts that they are about."""
        messages = self._consumer.consume(1, wait_s)
        if messages:
            messages += self._consumer.consume(READ_ROWS_MAX - 1, 0.0)
        heard = [
            Heard(self._role[str(message.topic())], json.loads(message.value() or b"{}"))
            for message in messages
            if message.error() is None
        ]
        yield from sorted(heard, key=lambda one: one.role, reverse=True)

    def read_rest(self, quiet_s: float, timeout_s: float) -> Iterator[Heard]:
        """Everything until nothing has come for `quiet_s`."""
        now_s = time.monotonic()
        end_s, quiet_until_s = now_s + timeout_s, now_s + quiet_s
        while time.monotonic() < min(end_s, quiet_until_s):
            for heard in self.read(0.1):
                quiet_until_s = time.monotonic() + quiet_s
                yield heard

    def close(self) -> None:
        """Leave."""
        self._consumer.close()


def broker_answers(bootstrap_servers: str) -> str:
    """Empty when a broker answers within ten seconds, else why not."""
    try:
        _admin(bootstrap_servers).list_topics(timeout=REQUEST_TIMEOUT_S)
    except KafkaException as error:
        return str(error.args[0].str())
    return ""


def configure_topics(bootstrap_servers: str, settings: Mapping[str, Mapping[str, str]]) -> None:
    """Topic → settings to change, leaving its others. Raises KafkaException."""
    resources = [
        ConfigResource(
            ResourceType.TOPIC,
            topic,
            incremental_configs=[
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in wanted.items()
            ],
        )
        for topic, wanted in settings.items()
    ]
    admin = _admin(bootstrap_servers)  # a client that is let go of drops its requests
    for future in admin.incremental_alter_configs(resources, request_timeout=REQUEST_TIMEOUT_S).values():
        future.result()


def remove(bootstrap_servers: str, topics: Sequence[str], group: str) -> list[str]:
    """Delete the topics and the group; returns what could not be deleted, and why."""
    admin = _admin(bootstrap_servers)
    left = []
    doomed: dict[str, Any] = dict(admin.delete_topics(list(topics), request_timeout=REQUEST_TIMEOUT_S))
    doomed |= admin.delete_consumer_groups([group], request_timeout=REQUEST_TIMEOUT_S)
    for name, future in doomed.items():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].name() not in ("UNKNOWN_TOPIC_OR_PART", "GROUP_ID_NOT_FOUND"):
                left.append(f"{name}: {error.args[0].str()}")
    return left


def _admin(bootstrap_servers: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
