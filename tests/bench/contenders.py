"""What the detector is measured beside, each in a process of its own: `python -m tests.bench.contenders WHO ...`.

Prints one JSON line: records, seconds from the first message to the last, CPU seconds of the process.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

# the detector's own consumer settings, so that (a) is its limit
FETCH = {
    "queued.max.messages.kbytes": 262_144,
    "queued.min.messages": 500_000,
    "fetch.message.max.bytes": 10_485_760,
    "isolation.level": "read_committed",
}


def consumer(bootstrap: str, topic: str) -> Consumer:
    """Reads partition 0 from its start, outside any group."""
    made = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench", "enable.auto.commit": False, **FETCH})
    made.assign([TopicPartition(topic, 0, 0)])
    return made


def bare(bootstrap: str, topic: str, count: int) -> dict[str, float]:
    """(a): `consume(1000)` and nothing else."""
    client = consumer(bootstrap, topic)
    first = client.consume(1, 30.0)
    began_s, cpu_s = time.perf_counter(), time.process_time()
    seen = len(first)
    while seen < count:
        seen += len(client.consume(min(1_000, count - seen), 30.0))
    figures = {"records": seen - 1, "seconds": time.perf_counter() - began_s, "cpu": time.process_time() - cpu_s}
    client.close()
    return figures


def river_loop(bootstrap: str, topic: str, count: int) -> dict[str, float]:
    """(c): what a user would write: `poll()`, `json.loads`, MinMaxScaler and 25 × 8 trees on six features."""
    from river import anomaly, compose, preprocessing

    model = compose.Pipeline(
        preprocessing.MinMaxScaler(), anomaly.HalfSpaceTrees(n_trees=25, height=8, window_size=1_000, seed=42)
    )
    client = consumer(bootstrap, topic)
    message: Any = None
    while message is None:
        message = client.poll(30.0)
    began_s, cpu_s = time.perf_counter(), time.process_time()
    last: dict[str, tuple[int, float]] = {}
    alerts = 0
    for _ in range(count):
        if message is None:
            message = client.poll(30.0)
            continue
        if message.error():
            raise KafkaException(message.error())
        row = json.loads(message.value())
        event_time, amount, card = row["event_time"], row["amount"], row["card_id"]
        before, mean = last.get(card, (event_time, amount))
        last[card] = (event_time, 0.9 * mean + 0.1 * amount)
        features = {
            "amount": amount,
            "to_mean": amount / mean if mean else 1.0,
            "gap": event_time - before,
            "hour": event_time // 3_600_000 % 24,
            "lat": row.get("lat") or 0.0,
            "lon": row.get("lon") or 0.0,
        }
        alerts += model.score_one(features) > 0.98
        model.learn_one(features)
        message = client.poll(30.0)
    figures = {"records": count, "seconds": time.perf_counter() - began_s, "cpu": time.process_time() - cpu_s}
    client.close()
    return figures


if __name__ == "__main__":
    who, servers, name, rows = sys.argv[1:]
    print(json.dumps({"bare": bare, "river": river_loop}[who](servers, name, int(rows))))
