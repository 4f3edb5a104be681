"""Law (exactly once), with the detector's own engine: features, scores, budget and reasons survive, byte for byte.

The same records go to two brokers under the same names. On one the detector runs undisturbed; on the other processes
join, leave and are killed. Both alerts topics, read as `read_committed`, hold the same records.
"""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from pathlib import Path

from detector.kafka.embedded import EmbeddedBroker
from tests.integration import support
from tests.integration.payments import KEPT, alerts, transactions, write
from tests.integration.process import Detector
from tests.integration.truth import settled, wait_settled

PARTITIONS = 3
ROWS = 60_000


def test_law_exactly_once_scores_included(
    kafka: str, own_broker: EmbeddedBroker, topic_names: dict[str, str], tmp_path: Path
) -> None:
    payloads = transactions(tmp_path, ROWS)
    calm, rough = own_broker.bootstrap_servers, kafka
    for broker in (calm, rough):
        support.create_topics(broker, [topic_names["transactions"]], PARTITIONS, KEPT)
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
