"""The input topic is the write-ahead log: it must outlive the snapshots.

Law: whatever lies between a task's newest snapshot and its committed offset must still be in the input when the task is
restored. With less than `RETENTION_PER_INTERVAL` snapshot intervals of retention that is luck, so we refuse to run.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from detector.kafka.admin import topic_config
from detector.kafka.errors import ConfigurationRefused

# One interval until the next snapshot, one for it to be late, or for the detector to be down.
RETENTION_PER_INTERVAL = 2

log = structlog.get_logger(__name__)


def check_retention(admin: AdminClient, topic: str, snapshot_interval_s: float) -> None:
    """Raises ConfigurationRefused when the topic forgets too early. Without permission to read settings, warns.

    Raises KafkaException when the broker is away.
    """
    try:
        config = topic_config(admin, topic)
    except KafkaException as error:
        if error.args[0].retriable():
            raise
        log.warning(
            "cannot read the input topic's settings, so its retention is not checked",
            topic=topic,
            error=error.args[0].str(),
            remedy="grant DescribeConfigs on it",
        )
        return
    judge(topic, config, snapshot_interval_s)


def judge(topic: str, config: Mapping[str, str], snapshot_interval_s: float) -> None:
    """`check_retention` on settings already read; those missing count as unlimited."""
    retention_ms = int(config.get("retention.ms", "-1"))
    needed_ms = int(RETENTION_PER_INTERVAL * snapshot_interval_s * 1_000)
    deletes = "delete" in config.get("cleanup.policy", "delete")
    if deletes and 0 <= retention_ms < needed_ms:
        raise ConfigurationRefused(
            f"expected topic {topic} to keep records for at least {needed_ms} ms, {RETENTION_PER_INTERVAL} times "
            f"snapshots.interval_s, found retention.ms={retention_ms}: a task could not be restored. "
            f"Raise retention.ms of the topic, or lower snapshots.interval_s to {retention_ms // 2_000} or less"
        )
    if deletes and (size := int(config.get("retention.bytes", "-1"))) >= 0:
        log.warning(
            "input topic is bounded by size as well: at a high rate records may go before the next snapshot",
            topic=topic,
            retention_bytes=size,
            snapshot_interval_s=snapshot_interval_s,
        )
    if "compact" in config.get("cleanup.policy", "delete"):
        log.warning(
            "input topic is compacted: a restore may not see every record again; use cleanup.policy=delete", topic=topic
        )
