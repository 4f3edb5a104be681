"""The table of topics: what `detector topics create` makes, and what the README shows.

Law: whatever the input topic accepts, the dead letters accept too, our headers included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

DAY_MS = 86_400_000
MESSAGE_BYTES_MAX = 1_048_588  # Kafka's own default of max.message.bytes
ADDED_HEADERS_BYTES_MAX = 16_384  # room for the headers that a dead letter adds
SNAPSHOT_CHUNK_BYTES_MAX = 900_000  # value of one snapshot chunk: below MESSAGE_BYTES_MAX, key and headers included


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic. `retention_ms` −1 keeps all; `partitions` 0 means as many as the transactions topic has."""

    role: str
    name: str
    key: str
    partitions: int
    cleanup: Literal["delete", "compact"]
    retention_ms: int
    message_bytes_max: int
    written_by: str
    read_by: str
    holds: str

    def config(self) -> dict[str, str]:
        """Topic configuration for CreateTopics."""
        return {
            "cleanup.policy": self.cleanup,
            "retention.ms": str(self.retention_ms),
            "max.message.bytes": str(self.message_bytes_max),
        }


TOPICS: dict[str, Topic] = {
    topic.role: topic
    for topic in (
        Topic(
            "transactions", "transactions", "card_id, UTF-8", 4, "delete", 7 * DAY_MS, MESSAGE_BYTES_MAX,
            "producers", "detector", "one Transaction, JSON",
        ),
        Topic(
            "alerts", "alerts", "masked card_id, UTF-8", 0, "delete", 90 * DAY_MS, MESSAGE_BYTES_MAX,
            "detector", "people and their tools, as read_committed", "one Alert, JSON, CloudEvents headers",
        ),
        Topic(
            "decisions", "decisions", "masked card_id, UTF-8", 0, "delete", 7 * DAY_MS, MESSAGE_BYTES_MAX,
            "detector, if [output] decisions says so", "stores and reports", "one Decision, JSON, CloudEvents headers",
        ),
        Topic(
            "dead_letters", "dead-letters", "the input's own", 0, "delete", 30 * DAY_MS,
            MESSAGE_BYTES_MAX + ADDED_HEADERS_BYTES_MAX,
            "detector", "operators", "the input's own bytes; the fault in headers",
        ),
        Topic(
            "labels", "labels", "card_id, UTF-8", 0, "delete", 90 * DAY_MS, MESSAGE_BYTES_MAX,
            "producers, people who check alerts", "detector, reports", "one Label, JSON",
        ),
        Topic(
            "journal", "{application_id}.journal", "input partition", 0, "compact", -1, MESSAGE_BYTES_MAX,
            "detector", "detector, when it restores", "next offset of each input, one record a commit",
        ),
        Topic(
            "snapshots", "{application_id}.snapshots", "input partition and chunk", 0, "compact", -1, MESSAGE_BYTES_MAX,
            "detector", "detector, when it restores", "chunks of a task's state",
        ),
    )
}  # fmt: skip


def markdown(application_id: str = "<application_id>", names: Mapping[str, str] = MappingProxyType({})) -> str:
    """The table as Markdown, one row a topic; `names` by role takes the place of the default names."""
    lines = ["| topic | key | partitions | kept | holds | written by | read by |", "|---|---|---|---|---|---|---|"]
    for topic in TOPICS.values():
        kept = "newest of each key" if topic.cleanup == "compact" else f"{topic.retention_ms // DAY_MS} days"
        partitions = str(topic.partitions) if topic.partitions else "as transactions"
        name = names.get(topic.role, topic.name.format(application_id=application_id))
        lines.append(
            f"| `{name}` | {topic.key} | {partitions} | {kept} | {topic.holds} | {topic.written_by} | {topic.read_by} |"
        )
    return "\n".join(lines) + "\n"
