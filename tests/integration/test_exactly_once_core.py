"""Law (exactly once), with the detector's own engine: features, scores, budget and reasons survive, byte for byte.

The same records go to two brokers under the same names. On one the detector runs undisturbed; on the other processes
join, leave and are killed. Both alerts topics, read as `read_committed`, hold the same records.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

from detector.kafka.embedded import EmbeddedBroker
from tests.integration import support
from tests.integration.process import Detector
from tests.integration.truth import settled, wait_settled

PARTITIONS = 3
ROWS = 60_000
FIRST_MS = 1_760_000_000_000


def transactions(folder: Path) -> list[bytes]:
    path = folder / "transactions.jsonl"
    command = ["simulate", "--count", str(ROWS), "--customers", "400", "--output", str(path), "--quiet"]
    subprocess.run([sys.executable, "-m", "producers", *command], check=True)
    return path.read_bytes().splitlines()


def write(kafka: str, names: dict[str, str], payloads: list[bytes], start: int, stop: int) -> None:
    rows = range(start, min(stop, len(payloads)))
    keys = [json.loads(payloads[row])["card_id"].encode() for row in rows]
    times = [FIRST_MS + row for row in rows]
    support.produce(kafka, names["transactions"], payloads[start:stop], keys=keys, timestamps_ms=times)


def alerts(kafka: str, names: dict[str, str]) -> dict[int, list[tuple[object, ...]]]:
    """By input partition, in the order of its alerts."""
    found = defaultdict(list)
    for record in support.read_topic(kafka, names["alerts"]):
        source = json.loads(record.value or b"")["source"]
        found[source["partition"]].append((source["offset"], record.key, record.value, record.headers))
    return {partition: sorted(rows, key=lambda row: row[0]) for partition, rows in found.items()}  # type: ignore[arg-type,return-value]


def test_law_exactly_once_scores_included(
    kafka: str, own_broker: EmbeddedBroker, topic_names: dict[str, str], tmp_path: Path
) -> None:
    payloads = transactions(tmp_path)
    calm, rough = own_broker.bootstrap_servers, kafka
    for broker in (calm, rough):
        support.create_topics(broker, [topic_names["transactions"]], PARTITIONS)
    write(calm, topic_names, payloads, 0, ROWS)
    with Detector(calm, topic_names, core=True) as detector:
        wait_settled(calm, topic_names, 120)
        assert detector.stop() == 0

    chance = random.Random(7)
    often = {"interval_s": 1, "interval_rows": 5_000}
    options = {"commit_rows_max": 300}
    with ExitStack() as stack:
        running: list[Detector] = []
        for start in range(0, ROWS, ROWS // 6):
            detector = Detector(rough, topic_names, core=True, snapshots=often, kafka=options)
            running.append(stack.enter_context(detector).ready())
            write(rough, topic_names, payloads, start, start + ROWS // 6)
            if len(running) == 2:  # killed while there is much to do
                victim = running.pop(chance.randrange(2))
                time.sleep(chance.uniform(0, 0.3))
                victim.kill() if chance.random() < 0.7 else victim.stop()
        wait_settled(rough, topic_names, 120)
        assert all(detector.stop() == 0 for detector in running)
    assert settled(rough, topic_names)
    undisturbed, disturbed = alerts(calm, topic_names), alerts(rough, topic_names)
    assert sum(map(len, undisturbed.values())) > 100
    assert disturbed == undisturbed
