"""Produce → alert readable as `read_committed`, at a steady rate, measured by one process that does both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from tests.bench.service import running

WriteConfig = Callable[[Path, str, str, str, int], tuple[Path, int]]
WARM_S = 20.0  # not measured: the models' first windows, the client's first fetches, the broker's just-in-time compiler
ALERTS_PER_DAY = 400  # of about 9,500 transactions an event-time day: enough alerts to measure


def payloads(folder: Path, count: int) -> list[tuple[bytes, bytes]]:
    """Simulated transactions (key, value), in order."""
    path = folder / "latency.jsonl"
    subprocess.run(
        [
            *(sys.executable, "-m", "producers", "simulate", "--count", str(count), "--output", str(path), "--quiet"),
            *("--seed", "7"),
        ],
        check=True,
    )
    lines = path.read_bytes().splitlines()
    return [(json.loads(line)["card_id"].encode(), line) for line in lines]


def measure_latency(
    folder: Path, bootstrap: str, rate: int, seconds: float, write_config: WriteConfig
) -> dict[str, float]:
    """p50, p90, p99, max in milliseconds, and how many alerts they rest on."""
    name = f"latency-{os.getpid()}"
    topic = f"{name}-transactions"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result()
    config, port = write_config(folder, name, bootstrap, topic, ALERTS_PER_DAY)
    messages = payloads(folder, int(rate * (seconds + WARM_S)))
    sent_s: dict[int, float] = {}
    seen_s: dict[int, float] = {}
    with running(config, port, folder / "latency.log") as service:
        stop = threading.Event()
        reader = threading.Thread(target=_read, args=(bootstrap, f"{name}-alerts", seen_s, stop))
        reader.start()
        try:
            _send(bootstrap, topic, messages, rate, sent_s)
            time.sleep(2.0)
            service.check()
        finally:
            stop.set()
            reader.join()
    warm = int(rate * WARM_S)
    delay_ms = np.array([1e3 * (seen_s[at] - sent_s[at]) for at in seen_s if at >= warm])
    if len(delay_ms) < 20:
        raise RuntimeError(f"expected at least 20 alerts to measure, found {len(delay_ms)}")
    p50, p90, p99 = np.percentile(delay_ms, [50, 90, 99]).tolist()
    return {"alerts": float(len(delay_ms)), "p50": p50, "p90": p90, "p99": p99, "max": float(delay_ms.max())}


def _send(bootstrap: str, topic: str, messages: list[tuple[bytes, bytes]], rate: int, sent_s: dict[int, float]) -> None:
    """One partition, in order: the offset of message i is i."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 1, "acks": "all", "enable.idempotence": True})
    began_s = time.perf_counter()
    for at, (key, value) in enumerate(messages):
        ahead_s = began_s + at / rate - time.perf_counter()
        if ahead_s > 0.001:
            producer.poll(0)
            time.sleep(ahead_s)
        sent_s[at] = time.perf_counter()
        producer.produce(topic, value, key)
    producer.flush(30)


def _read(bootstrap: str, topic: str, seen_s: dict[int, float], stop: threading.Event) -> None:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"{topic}-reader",
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 5,
        }
    )
    consumer.subscribe([topic])
    while not stop.is_set():
        message = consumer.poll(0.1)  # `consume` would wait for a whole batch
        if message is not None and message.error() is None:
            now_s = time.perf_counter()
            seen_s[json.loads(message.value() or b"")["source"]["offset"]] = now_s
    consumer.close()
