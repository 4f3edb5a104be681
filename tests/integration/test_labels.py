"""Labels beside the transactions, inside the guarantee: laws *exactly once* and *restore ≡ replay* with both.

Alerts of the counting engine show how many labels it has seen, and a CRC over them and what became of each. What must
be on the topic is worked out from both logs and the cuts that the journal tells of, each cut being committed once.
"""

from __future__ import annotations

import random
import time
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import pytest
from confluent_kafka import Producer

from schemas.dead_letter import DeadLetter
from tests.integration import support
from tests.integration.counting import label_of, numbers, parse_label
from tests.integration.process import Detector
from tests.integration.truth import assert_alerts, labels_settled, read_cuts, read_log, wait_settled

OFTEN = {"enabled": True, "interval_ms": 30}
QUICK = {"session_timeout_ms": 3_000}  # a killed one is missed sooner
PARTITIONS = 2


def labelled(kafka: str, names: dict[str, str], **options: Any) -> Detector:
    return Detector(kafka, names, labels=OFTEN, kafka=QUICK, **options)


def make_inputs(kafka: str, names: dict[str, str], partitions: int = 1) -> None:
    support.create_topics(kafka, [names["transactions"], names["labels"]], partitions)


def wait_labels(kafka: str, names: dict[str, str]) -> None:
    support.wait_for(lambda: labels_settled(kafka, names), 60, "labels settled", every_s=0.3)


def assert_rejects_once(kafka: str, names: dict[str, str]) -> None:
    """Every label that cannot be read is a dead letter, one each, and nothing else is."""
    bad = {
        (part, offset)
        for part, rows in read_log(kafka, names["labels"]).items()
        for offset, payload in rows
        if payload is not None and parse_label(payload) is None
    }
    letters = [DeadLetter.from_headers(list(one.headers)) for one in support.read_topic(kafka, names["dead_letters"])]
    assert sorted((one.partition, one.offset) for one in letters) == sorted(bad)
    assert {one.topic for one in letters} <= {names["labels"]}


def flow(kafka: str, names: dict[str, str], seed: int, per_s: int = 1_600) -> AbstractContextManager[None]:
    """Numbers over all partitions, and labels: of old ones, of those just written and of some yet to come; some twice,
    some taken back, some that are no labels; until the block is left.
    """
    chance = random.Random(seed)

    def label(value: int) -> bytes:
        if chance.random() < 0.02:
            return b"no label"
        about = max(0, value - PARTITIONS * chance.choice([0, 1, 10, 100, -300]))
        return label_of(about, chance.random() < 0.3)

    def write(client: Producer, value: int) -> None:
        client.produce(names["transactions"], b"%d" % value, partition=value % PARTITIONS)
        if value % 5 < 2:
            client.produce(names["labels"], label(value), partition=value % PARTITIONS)

    return support.writing(kafka, write, per_s)


def test_law_exactly_once_under_kill_with_labels(kafka: str, topic_names: dict[str, str]) -> None:
    """Killed before the first snapshot and after, with one process and with two, partitions moving on."""
    chance = random.Random(3)
    make_inputs(kafka, topic_names, PARTITIONS)
    often = {"interval_s": 1, "interval_rows": 1_000}
    with flow(kafka, topic_names, seed=3):
        with labelled(kafka, topic_names) as first:
            first.ready()
            time.sleep(2)
            first.kill()
        with ExitStack() as stack:
            pair = [stack.enter_context(labelled(kafka, topic_names, snapshots=often)) for _ in range(2)]
            for one in pair:
                one.ready()
            time.sleep(1 + chance.uniform(0, 1))
            pair[0].kill()
            time.sleep(1 + chance.uniform(0, 1))
            pair[1].kill()
    with labelled(kafka, topic_names, snapshots=often) as last:
        wait_settled(kafka, topic_names)
        wait_labels(kafka, topic_names)
        assert last.stop() == 0
    cuts = read_cuts(kafka, topic_names)
    assert all(len({offset for offset, _ in cuts[part]}) > 5 for part in range(PARTITIONS)), "labels came in between"
    assert_alerts(kafka, topic_names, labels=True)
    assert_rejects_once(kafka, topic_names)


def test_a_backlog_of_both_goes_in_by_event_time(kafka: str, topic_names: dict[str, str]) -> None:
    """Labels that lie there before the first start meet their transactions; then early, doubled and flipped ones."""
    make_inputs(kafka, topic_names)
    support.produce(kafka, topic_names["transactions"], numbers(2_000))
    labels = [label_of(value, value % 3 == 0) for value in range(0, 2_000, 4)]
    support.produce(kafka, topic_names["labels"], [*labels, None])

    def told(detector: Detector) -> dict[str, float]:
        outcomes = ("learned", "duplicate", "contradictory", "orphan")
        return {outcome: detector.metric(f'detector_labels_total{{outcome="{outcome}"}}') for outcome in outcomes}

    with labelled(kafka, topic_names) as detector:
        wait_settled(kafka, topic_names)
        wait_labels(kafka, topic_names)
        assert told(detector) == {"learned": 500, "duplicate": 0, "contradictory": 0, "orphan": 0}
        more = [label_of(8, False), label_of(9, True), label_of(9, True), label_of(9, False), label_of(5_000, True)]
        support.produce(kafka, topic_names["labels"], [*more, b"{"])
        wait_labels(kafka, topic_names)
        assert told(detector) == {"learned": 501, "duplicate": 2, "contradictory": 1, "orphan": 1}
        assert detector.metric('detector_dead_letters_total{reason="not_json"}') == 1
        support.wait_for(lambda: detector.metric('detector_labels_lag_records{partition="0"}') == 0, 10, "no lag")
        detector.kill()
    support.produce(kafka, topic_names["transactions"], numbers(100, 2_000))
    with labelled(kafka, topic_names) as detector:
        wait_settled(kafka, topic_names)
        assert sum(told(detector).values()) == 0, "what was counted is not counted again"
        assert detector.stop() == 0
    assert_alerts(kafka, topic_names, labels=True)
    assert_rejects_once(kafka, topic_names)


def test_labels_in_a_transaction_that_must_be_aborted(kafka: str, topic_names: dict[str, str]) -> None:
    """The dead letter of a label is refused by the broker: the task goes back, and reads its labels again."""
    make_inputs(kafka, topic_names)
    support.produce(kafka, topic_names["transactions"], numbers(500))
    with labelled(kafka, topic_names) as detector:
        wait_settled(kafka, topic_names)
        support.alter_topic(kafka, topic_names["dead_letters"], {"max.message.bytes": "2000"})
        bad = random.Random(1).randbytes(5_000)  # not to be compressed below the limit
        good = [label_of(value, True) for value in range(100)]
        support.produce(kafka, topic_names["labels"], [*good, bad, *good])
        wait_labels(kafka, topic_names)
        support.produce(kafka, topic_names["transactions"], numbers(500, 500))
        wait_settled(kafka, topic_names)
        assert detector.metric('detector_restores_total{cause="aborted"}') >= 1
        assert detector.metric('detector_labels_total{outcome="learned"}') == 100
        assert detector.metric('detector_labels_total{outcome="duplicate"}') == 100
        assert detector.stop() == 0
    assert_alerts(kafka, topic_names, labels=True)
    assert_rejects_once(kafka, topic_names)


def test_a_rebuild_folds_labels_by_event_time(kafka: str, topic_names: dict[str, str]) -> None:
    """And what it did is done again by a restore, though no snapshot holds it."""
    make_inputs(kafka, topic_names)
    support.produce(kafka, topic_names["transactions"], numbers(1_000))
    with Detector(kafka, topic_names, kafka=QUICK) as detector:  # without labels
        wait_settled(kafka, topic_names)
        detector.kill()
    old = [label_of(value, value % 2 == 0) for value in range(0, 900, 3)]
    ahead = [label_of(value, True) for value in (900, 5, 2_000, 1_500, 7)]
    support.produce(kafka, topic_names["labels"], [*old, *ahead])
    with labelled(kafka, topic_names, state_fingerprint="state-2", rebuild=True) as detector:
        support.produce(kafka, topic_names["transactions"], numbers(500, 1_000))
        wait_settled(kafka, topic_names)
        wait_labels(kafka, topic_names)
        detector.kill()
    support.produce(kafka, topic_names["transactions"], numbers(500, 1_500))
    with labelled(kafka, topic_names, state_fingerprint="state-2") as detector:
        wait_settled(kafka, topic_names)
        assert detector.events("task restored")[0]["snapshot"] is None
        assert detector.stop() == 0
    assert_alerts(kafka, topic_names, labels=True, since=1_000)


def test_labels_that_are_gone_end_with_65(kafka: str, topic_names: dict[str, str]) -> None:
    """With the remedy in the log: where a snapshot is damaged, and where labels were deleted before they were read."""
    make_inputs(kafka, topic_names)
    support.produce(kafka, topic_names["transactions"], numbers(500))
    support.produce(kafka, topic_names["labels"], [label_of(value, True) for value in range(300)])
    with labelled(kafka, topic_names) as detector:
        wait_settled(kafka, topic_names)
        wait_labels(kafka, topic_names)
        assert detector.stop() == 0  # with a snapshot
    snapshots = topic_names["application_id"] + ".snapshots"
    support.alter_topic(kafka, snapshots, {"cleanup.policy": "delete"})
    support.delete_records(kafka, snapshots, 0)
    with labelled(kafka, topic_names) as detector:
        assert detector.ends() == 65
        assert "--rebuild" in detector.log
    with labelled(kafka, topic_names, rebuild=True) as detector:
        detector.ready()
        support.produce(kafka, topic_names["transactions"], numbers(500, 500))
        wait_settled(kafka, topic_names)
        assert detector.stop() == 0
    assert_alerts(kafka, topic_names, labels=True, since=500)
    support.produce(kafka, topic_names["labels"], [label_of(value, True) for value in range(300, 310)])
    support.delete_records(kafka, topic_names["labels"], 0, before=305)
    with labelled(kafka, topic_names) as detector:
        assert detector.ends() == 65
        assert topic_names["labels"] in detector.log
        assert "--rebuild" in detector.log


@pytest.mark.parametrize(
    ("partitions", "config", "told"),
    [(3, {}, "labels.enabled"), (2, {"retention.ms": "60000"}, "retention.ms=60000")],
    ids=["fewer_partitions", "kept_too_short"],
)
def test_labels_that_cannot_be_joined_end_with_78(
    kafka: str, topic_names: dict[str, str], partitions: int, config: dict[str, str], told: str
) -> None:
    support.create_topics(kafka, [topic_names["transactions"]], partitions)
    support.create_topics(kafka, [topic_names["labels"]], 2, config)
    with labelled(kafka, topic_names) as detector:
        assert detector.ends() == 78
        assert f"expected topic {topic_names['labels']}" in detector.log
        assert told in detector.log
