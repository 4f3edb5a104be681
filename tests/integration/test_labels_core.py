"""Laws *exactly once* and *restore ≡ replay*, with the detector's own engine and labels: what the label features, the
pending store and the heads hold survives a kill, byte for byte, trees that are swapped in on the way included.

Where labels went in is up to clocks. So the undisturbed run is made here, in one piece and in memory: the same engine
over both logs, the labels folded in at the cuts that the journal tells of.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message

from detector.kafka.engine import CoreEngine
from detector.kafka.records import Records, records_of
from detector.settings import Settings
from tests.integration import support
from tests.integration.payments import FIRST_MS, KEPT, alerts, transactions
from tests.integration.process import Detector
from tests.integration.truth import labels_settled, read_cuts, wait_settled

PARTITIONS = 2
OFTEN = {"enabled": True, "interval_ms": 50}
BOOSTED = {"boosted": True, "boosted_delay_rows": 1_000}


def records(partition: int, rows: list[support.Record]) -> Records:
    """As a consumer would hand them out."""
    messages = [
        Message(
            topic="", partition=partition, offset=one.offset, key=one.key, value=one.value,
            headers=list(one.headers), timestamp=(1, one.timestamp_ms),
        )
        for one in rows
    ]  # fmt: skip
    return records_of(partition, messages, 0)


def undisturbed(
    settings: Settings, kafka: str, names: dict[str, str], told: Counter[str]
) -> dict[int, list[tuple[object, ...]]]:
    """Alerts by partition, as `payments.alerts` gives them; what became of the labels is added to `told`."""
    rows, labels = support.read_topic(kafka, names["transactions"]), support.read_topic(kafka, names["labels"])
    cuts, engine, found = read_cuts(kafka, names), CoreEngine(settings, settings.spec(PARTITIONS)), {}
    for partition in range(PARTITIONS):
        state, at, labels_at = engine.new_state(partition), 0, 0
        found[partition] = []
        mine = [one for one in rows if one.partition == partition]
        for offset, labels_offset in [*cuts[partition], (mine[-1].offset + 1, 0)]:
            if batch := [one for one in mine if at <= one.offset < offset]:
                part = records(partition, batch)
                decoded = engine.decode(part)
                decisions = engine.conclude(state, engine.prepare(state, decoded))
                for output in engine.outputs(part, decoded, decisions):
                    source = json.loads(output.message.value or b"")["source"]["offset"]
                    message = output.message
                    found[partition].append((source, message.key, message.value, tuple(message.headers)))
                at = offset
            if new := [o for o in labels if o.partition == partition and labels_at <= o.offset < labels_offset]:
                tally = engine.learn_labels(state, engine.decode_labels(records(partition, new)))
                told.update(learned=tally.learned, orphan=tally.orphan)
                labels_at = labels_offset
        told["swaps"] += int(engine.gauges(state).get("boosted_swaps", 0))
    return found


@pytest.mark.parametrize(("count", "heads"), [(12_000, {}), (24_000, BOOSTED)], ids=["online_head", "boosted_head"])
def test_law_exactly_once_labels_included(
    kafka: str, topic_names: dict[str, str], tmp_path: Path, count: int, heads: dict[str, Any]
) -> None:
    chance = random.Random(5)
    payloads = transactions(tmp_path, count, extra=("--label-delay", "12h", "--label-genuine-share", "0.3"))
    labels = (tmp_path / "transactions.labels.jsonl").read_bytes().splitlines()
    times = [json.loads(payload)["event_time"] for payload in payloads]
    due = [json.loads(label)["event_time"] for label in labels]
    support.create_topics(kafka, [topic_names["transactions"], topic_names["labels"]], PARTITIONS, KEPT)

    def card(payload: bytes) -> bytes:
        return json.loads(payload)["card_id"].encode()

    def write(start: int, stop: int) -> None:
        """A stretch of rows, and the labels that are known by its end."""
        stretch = payloads[start:stop]
        now = [FIRST_MS + row for row in range(start, stop)]
        support.produce(kafka, topic_names["transactions"], stretch, map(card, stretch), timestamps_ms=now)
        after, upto = times[start - 1] if start else 0, times[stop - 1]
        known = [label for label, time_ms in zip(labels, due, strict=True) if after < time_ms <= upto]
        support.produce(kafka, topic_names["labels"], known, map(card, known))

    often, step = {"interval_s": 2, "interval_rows": 2_000}, count // 8
    options = {
        "core": True,
        "labels": OFTEN | heads,
        "snapshots": often,
        "kafka": {"commit_rows_max": 300, "session_timeout_ms": 3_000},
    }
    for start in (0, 4 * step):
        with Detector(kafka, topic_names, **options) as detector:  # type: ignore[arg-type]
            detector.ready()
            for stretch in range(start, start + 4 * step, step):
                write(stretch, stretch + step)
                time.sleep(chance.uniform(0.2, 0.6))
            if start == 0:
                detector.kill()
            else:
                wait_settled(kafka, topic_names, 120)
                support.wait_for(lambda: labels_settled(kafka, topic_names), 60, "labels settled", every_s=0.3)
                learned = detector.metric('detector_labels_total{outcome="learned"}')
                assert detector.metric("detector_label_delay_seconds_count") == learned > 0
                assert detector.metric("detector_label_delay_seconds_sum") / learned == pytest.approx(43_200, rel=0.5)
                assert 0 <= detector.metric("detector_late_labels_total") < learned
                assert detector.stop() == 0
    told: Counter[str] = Counter()
    settings = {name: value for name, value in detector.settings.items() if name != "counting"}
    expected = undisturbed(Settings.model_validate(settings), kafka, topic_names, told)
    found = alerts(kafka, topic_names)
    assert told["learned"] > 1_000
    assert told["orphan"] < told["learned"] / 10
    assert told["swaps"] >= (PARTITIONS if heads else 0)
    assert sum(map(len, expected.values())) > 50
    assert found == expected
