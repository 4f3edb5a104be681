"""Simulated transactions for a real broker, and the alerts that came of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from tests.integration import support

FIRST_MS = 1_760_000_000_000  # of the records' own timestamps, the same on every broker
KEPT = {"retention.ms": "-1"}  # for topics whose records are older than a broker keeps them


def transactions(folder: Path, rows: int, customers: int = 400, extra: Sequence[str] = ()) -> list[bytes]:
    """Payloads in event-time order, equal for equal arguments. Their labels lie in `transactions.labels.jsonl`."""
    path = folder / "transactions.jsonl"
    command = [
        "simulate",
        "--count",
        str(rows),
        "--customers",
        str(customers),
        "--output",
        str(path),
        "--quiet",
        *extra,
    ]
    subprocess.run([sys.executable, "-m", "producers", *command], check=True)
    return path.read_bytes().splitlines()


def write(kafka: str, names: dict[str, str], payloads: list[bytes], start: int, stop: int) -> None:
    """Rows `start:stop`, keyed by card, each with a timestamp of its own, so that two brokers hold equal records."""
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
