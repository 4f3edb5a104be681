"""What must be on the alerts topic, worked out from the input alone, and compared record for record."""

from __future__ import annotations

import json
from collections import defaultdict

from confluent_kafka import KafkaException

from tests.integration import counting, support


def assert_alerts(bootstrap_servers: str, names: dict[str, str], labels: bool = False, since: int = 0) -> None:
    """The alerts read as `read_committed` are those of an undisturbed run: key, value, headers, order of each task.

    With `labels`, of one in which they were folded in at the cuts that the journal tells of. `since`: alerts of input
    offsets from there on.
    """
    found: dict[int, list[tuple[object, ...]]] = defaultdict(list)
    for record in support.read_topic(bootstrap_servers, names["alerts"]):
        task, offset = map(int, json.loads(record.value or b"")["id"].split("-"))
        if offset >= since:
            found[task].append((record.key, record.value, record.headers))
    assert dict(found) == expected(bootstrap_servers, names, labels, since)


def assert_nothing_lost(bootstrap_servers: str, names: dict[str, str], since: int = 0) -> None:
    """Each alert of an undisturbed run is there, word for word, once or more often, and no other.

    `since`: alerts of input offsets from there on; there are no others.
    """
    found = {(r.key, r.value, r.headers) for r in support.read_topic(bootstrap_servers, names["alerts"])}
    assert found == {alert for alerts in expected(bootstrap_servers, names, since=since).values() for alert in alerts}


def expected(
    bootstrap_servers: str, names: dict[str, str], labels: bool = False, since: int = 0
) -> dict[int, list[tuple[object, ...]]]:
    """Partition → its alerts, as (key, value, headers)."""
    records = read_log(bootstrap_servers, names["transactions"])
    told = read_log(bootstrap_servers, names["labels"]) if labels else None
    cuts = read_cuts(bootstrap_servers, names) if labels else {}
    alerts = {
        part: counting.expected_alerts(part, rows, told.get(part, []) if told is not None else None, cuts.get(part, []))
        for part, rows in records.items()
    }
    rows = {
        part: [alert for alert in found if int(json.loads(alert.value or b"")["id"].split("-")[1]) >= since]
        for part, found in alerts.items()
    }
    return {part: [(a.key, a.value, tuple(a.headers)) for a in found] for part, found in rows.items() if found}


def read_log(bootstrap_servers: str, topic: str) -> dict[int, list[tuple[int, bytes | None]]]:
    """Partition → (offset, payload) of its records."""
    records: dict[int, list[tuple[int, bytes | None]]] = defaultdict(list)
    for record in support.read_topic(bootstrap_servers, topic):
        records[record.partition].append((record.offset, record.value))
    return records


def read_cuts(bootstrap_servers: str, names: dict[str, str]) -> dict[int, list[tuple[int, int]]]:
    """Partition → every cut that was committed, merges of rebuilds worked out, in the order of the labels."""
    cuts: dict[int, list[tuple[int, int]]] = defaultdict(list)
    merged: set[tuple[int, int, int]] = set()
    for record in support.read_topic(bootstrap_servers, names["application_id"] + ".journal"):
        told = json.loads(record.value or b"")
        if "merged" in told and (merge := (record.partition, *told["merged"])) not in merged:
            merged.add(merge)
            cuts[record.partition] = merge_cuts(bootstrap_servers, names, *merge)
        for offset, labels_offset in told.get("cuts", []):
            if not cuts[record.partition] or labels_offset > cuts[record.partition][-1][1]:
                cuts[record.partition].append((offset, labels_offset))
    return cuts


def merge_cuts(
    bootstrap_servers: str, names: dict[str, str], partition: int, upto: int, labels_upto: int
) -> list[tuple[int, int]]:
    """Cuts that say the same as a merge by event time: a number's time is the number, and so is its label's."""
    rows = read_log(bootstrap_servers, names["transactions"])[partition]
    cuts, time = [], -1
    for offset, payload in read_log(bootstrap_servers, names["labels"])[partition]:
        label = counting.parse_label(payload)
        if label is None or offset >= labels_upto:
            continue
        time = max(time, label[0])
        reached = (at for at, value in rows if at < upto and value is not None and int(value) >= time)
        cuts.append((next(reached, upto), offset + 1))
    return cuts


def labels_settled(bootstrap_servers: str, names: dict[str, str]) -> bool:
    """Whether the journal says that all labels are folded in."""
    ends = {part: end for part, end in support.end_offsets(bootstrap_servers, names["labels"]).items() if end}
    found = {}
    for record in support.read_topic(bootstrap_servers, names["application_id"] + ".journal"):
        offset = json.loads(record.value or b"")["inputs"].get(f"{names['labels']}-{record.partition}")
        found[record.partition] = offset
    return {part: offset for part, offset in found.items() if offset} == ends


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
