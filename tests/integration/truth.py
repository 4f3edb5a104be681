"""What must be on the alerts topic, worked out from the input alone, and compared record for record."""

from __future__ import annotations

import json
from collections import defaultdict

from confluent_kafka import KafkaException

from tests.integration import counting, support


def assert_alerts(bootstrap_servers: str, names: dict[str, str]) -> None:
    """The alerts read as `read_committed` are those of an undisturbed run: key, value, headers, order of each task."""
    found: dict[int, list[tuple[object, ...]]] = defaultdict(list)
    for record in support.read_topic(bootstrap_servers, names["alerts"]):
        task = int(json.loads(record.value or b"")["id"].split("-")[0])
        found[task].append((record.key, record.value, record.headers))
    assert dict(found) == expected(bootstrap_servers, names)


def assert_nothing_lost(bootstrap_servers: str, names: dict[str, str]) -> None:
    """Each alert of an undisturbed run is there, word for word, once or more often, and no other."""
    found = {(r.key, r.value, r.headers) for r in support.read_topic(bootstrap_servers, names["alerts"])}
    assert found == {alert for alerts in expected(bootstrap_servers, names).values() for alert in alerts}


def expected(bootstrap_servers: str, names: dict[str, str]) -> dict[int, list[tuple[object, ...]]]:
    """Partition → its alerts, as (key, value, headers)."""
    records: dict[int, list[tuple[int, bytes | None]]] = defaultdict(list)
    for record in support.read_topic(bootstrap_servers, names["transactions"]):
        records[record.partition].append((record.offset, record.value))
    alerts = {part: counting.expected_alerts(part, rows) for part, rows in records.items()}
    return {part: [(a.key, a.value, tuple(a.headers)) for a in found] for part, found in alerts.items() if found}


def settled(bootstrap_servers: str, names: dict[str, str]) -> bool:
    """Whether the group has committed all of the input; False while the broker cannot tell."""
    try:
        ends = {p: end for p, end in support.end_offsets(bootstrap_servers, names["transactions"]).items() if end}
        return support.committed_offsets(bootstrap_servers, names["application_id"], names["transactions"]) == ends
    except KafkaException:
        return False


def wait_settled(bootstrap_servers: str, names: dict[str, str], timeout_s: float = 60) -> None:
    """Wait until the group has committed all of the input."""
    support.wait_for(lambda: settled(bootstrap_servers, names), timeout_s, "input settled", every_s=0.1)
