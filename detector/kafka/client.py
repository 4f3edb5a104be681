"""Settings of the Kafka clients, each with its reason.

Law: whatever exactly-once rests on (ids, isolation, acknowledgements, who commits) is set here, and refused in
`[kafka] client` by the settings; the rest can be overridden there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from detector.kafka.errors import ConfigurationRefused
from detector.settings import Settings

# Snapshot chunks and dead letters exceed librdkafka's own default of 1 MB a message; the broker's limit decides.
MESSAGE_BYTES_MAX = 10_485_760
TRANSACTION_TIMEOUT_MS_MIN = 1_000

# librdkafka's own lines repeat with each try; the shell says what matters, once. Shown at level debug.
library_log = logging.getLogger("librdkafka")
library_log.addHandler(logging.NullHandler())

ErrorCallback = Callable[[KafkaError], None]


def base(settings: Settings, role: str) -> dict[str, Any]:
    """What all clients share. `role` tells them apart in the broker's logs."""
    library_log.propagate = logging.getLogger().isEnabledFor(logging.DEBUG)
    return {
        "bootstrap.servers": settings.kafka.bootstrap_servers,
        "client.id": f"{settings.application_id}-{role}",
        "logger": library_log,
        # Back within a second once the broker is, rather than the default ten.
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1_000,
        **settings.kafka.client,
    }


def consumer_config(settings: Settings, on_error: ErrorCallback) -> dict[str, Any]:
    """The group member that reads the input."""
    session_ms = settings.kafka.session_timeout_ms
    classic = {
        # Partitions that stay are not stopped by a rebalance.
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": session_ms,
        "heartbeat.interval.ms": max(100, min(3_000, session_ms // 3)),
    }
    return {
        # As measured: fetch far ahead when behind; answer at once when not.
        "queued.max.messages.kbytes": 262_144,
        "queued.min.messages": 500_000,
        "fetch.message.max.bytes": MESSAGE_BYTES_MAX,
        "fetch.wait.max.ms": 5,
        "fetch.queue.backoff.ms": 5,
        # A topic that grows is noticed by the group within this time, rather than in five minutes.
        "topic.metadata.refresh.interval.ms": 30_000,
        # Above any commit or restore slice; a wait for the broker that is longer loses the partitions, no more.
        "max.poll.interval.ms": max(300_000, session_ms),
        **base(settings, "consumer"),
        "error_cb": on_error,
        "group.id": settings.application_id,
        "group.protocol": settings.kafka.group_protocol,
        **(classic if settings.kafka.group_protocol == "classic" else {}),
        # Offsets are committed inside our transactions, from our own count of what was processed.
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # Committed offsets are then read only once they are stable (KIP-447), and input transactions are respected.
        "isolation.level": "read_committed",
        # Every position is given: falling off the log's end is lost history, never a silent skip.
        "auto.offset.reset": "error",
    }


def reader_config(settings: Settings, on_error: ErrorCallback) -> dict[str, Any]:
    """The assign()-only consumer that a restore reads through; never joins the group."""
    return {
        "queued.max.messages.kbytes": 65_536,
        "queued.min.messages": 100_000,
        "fetch.message.max.bytes": MESSAGE_BYTES_MAX,
        "fetch.wait.max.ms": 5,
        "fetch.queue.backoff.ms": 5,
        **base(settings, "restore"),
        "error_cb": on_error,
        "group.id": f"{settings.application_id}-restore",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        "auto.offset.reset": "error",
        # Control records take offsets: the end of the log is an event, not a last record.
        "enable.partition.eof": True,
    }


def labels_config(settings: Settings, on_error: ErrorCallback) -> dict[str, Any]:
    """The assign()-only consumer of the labels; never joins the group."""
    return {
        # Labels are few, and may wait: what the defaults fetch at once is enough.
        "queued.max.messages.kbytes": 8_192,
        "fetch.message.max.bytes": MESSAGE_BYTES_MAX,
        **base(settings, "labels"),
        "error_cb": on_error,
        "group.id": f"{settings.application_id}-labels",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        "auto.offset.reset": "error",
    }


def producer_config(settings: Settings, transactional_id: str | None, on_error: ErrorCallback) -> dict[str, Any]:
    """The one producer of the process; without `transactional_id` an idempotent one for at-least-once."""
    config = {
        "compression.type": "lz4",
        "linger.ms": 1,
        # Now and then the broker still writes the last transaction's markers when the next one begins, and says so; the
        # default, a tenth of a second, would be most of what late alerts are late. Doubles with each try.
        "retry.backoff.ms": 5,
        "message.max.bytes": MESSAGE_BYTES_MAX,
        **base(settings, "producer"),
        "error_cb": on_error,
        "enable.idempotence": True,
        "acks": "all",
    }
    if transactional_id is not None:
        config["transactional.id"] = transactional_id
        # Below the session timeout: what a dead member left open is aborted before its partitions move on.
        config["transaction.timeout.ms"] = max(
            TRANSACTION_TIMEOUT_MS_MIN, min(settings.kafka.session_timeout_ms * 4 // 5, 60_000)
        )
    return config


def new_admin(settings: Settings, on_error: ErrorCallback) -> AdminClient:
    """For topics, their settings and offsets. The first client of any command, so the one that meets a wrong property.

    Raises ConfigurationRefused where librdkafka does not take the name or the value of one.
    """
    config: dict[str, Any] = {**base(settings, "admin"), "error_cb": on_error}
    try:
        return AdminClient(config)
    except KafkaException as error:
        said = error.args[0].str().strip()
        raise ConfigurationRefused(f"kafka.client: expected properties that librdkafka takes, found: {said}") from None
