"""`detector topics create` on a real broker: what the table says is what the broker has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from detector.kafka.admin import partition_counts, topic_config
from schemas.topics import TOPICS
from tests.integration import support
from tests.integration.live import environment

ROOT = Path(__file__).parents[2]
PARTITIONS = 3


def create(kafka: str, names: dict[str, str]) -> dict[str, str]:
    """Topic → what the command says of it."""
    command = [sys.executable, "-m", "detector", "topics", "create", "--partitions", str(PARTITIONS)]
    env = environment(kafka, names)
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return {name: said for said, name in (line.split() for line in done.stdout.splitlines())}


def test_topics_create_makes_the_table_and_says_so_when_it_is_there(kafka: str, topic_names: dict[str, str]) -> None:
    own = topic_names["application_id"]
    names = {role: topic_names.get(role, topic.name.format(application_id=own)) for role, topic in TOPICS.items()}
    assert create(kafka, topic_names) == dict.fromkeys(names.values(), "created")
    client = support.admin(kafka)
    support.wait_for(lambda: set(names.values()) <= partition_counts(client).keys(), 30, "all topics")
    counts = partition_counts(client)
    assert {name: counts[name] for name in names.values()} == dict.fromkeys(names.values(), PARTITIONS)
    for role, topic in TOPICS.items():
        found = topic_config(client, names[role])
        assert found["cleanup.policy"] == topic.cleanup, role
        assert found["retention.ms"] == str(topic.retention_ms), role
        assert found["max.message.bytes"] == str(topic.message_bytes_max), role
    assert create(kafka, topic_names) == dict.fromkeys(names.values(), "exists")
