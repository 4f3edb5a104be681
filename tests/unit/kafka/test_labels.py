"""Labels in our hands: which may go in, and what the journal must still tell of those that did."""

from __future__ import annotations

import numpy as np
from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

from detector.kafka.journal import SnapshotReference
from detector.kafka.labels import UNKNOWN, Waiting
from detector.kafka.records import records_of
from detector.kafka.tasks import LabelHistory, Task


def reference(labels_offset: int | None) -> SnapshotReference:
    return SnapshotReference(1, 1, 1, "", 0, 0, labels_offset)


def waiting(event_time_ms: list[int], barrier: list[int]) -> Waiting:
    ours = Waiting(10)
    messages = [Message(topic="labels", partition=0, offset=10 + row, value=b"") for row in range(len(barrier))]
    if messages:
        ours.add(records_of(0, messages, 10), np.array(event_time_ms, np.int64))
    ours.barrier[:] = barrier
    return ours


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20) | st.just(UNKNOWN))),
    st.integers(0, 20),
    st.integers(0, 20),
)
def test_a_label_goes_in_once_its_time_or_the_log_is_reached(
    labels: list[tuple[int, int]], next_offset: int, newest_ms: int
) -> None:
    ours = waiting([time for time, _ in labels], [barrier for _, barrier in labels])
    count = ours.due(next_offset, float(newest_ms))
    free = [time <= newest_ms or barrier <= next_offset for time, barrier in labels]
    assert all(free[:count]), "each has reached one of the two"
    assert count == len(labels) or not free[count], "and none waits behind another for nothing"
    taken = ours.take(count)
    assert [one.offset() for one in taken] == list(range(10, 10 + count))
    assert len(ours.messages) == len(ours.barrier) == len(ours.event_time_ms) == len(labels) - count


def test_without_knowing_the_logs_end_event_time_alone_decides() -> None:
    ours = Waiting(0)
    ours.add(records_of(0, [Message(topic="labels", partition=0, offset=4, value=b"")], 0), np.array([50]))
    assert ours.position == 5
    assert ours.due(1_000_000, 49.0) == 0
    assert ours.due(0, 50.0) == 1


def test_a_snapshot_lets_the_cuts_before_it_go() -> None:
    history = LabelHistory(0, 3, merged=(7, 3))
    for cut in [(10, 5), (10, 8), (20, 9)]:
        history.cut(*cut)
    assert history.since(None) == (((10, 5), (10, 8), (20, 9)), (7, 3))
    assert history.since(reference(None)) == (((10, 5), (10, 8), (20, 9)), (7, 3))
    assert history.since(reference(5)) == (((10, 8), (20, 9)), None), "a snapshot may stand between two at one offset"
    assert history.since(reference(9)) == ((), None)
    assert history.next_offset == 9


def test_labels_alone_make_a_snapshot_due() -> None:
    task = Task(0)
    task.restored(object(), 5, 0, 0, None, 0, LabelHistory(0, 0))
    assert not task.changed
    task.labels.cut(5, 2)  # type: ignore[union-attr]
    assert task.changed
    assert task.at_boundary
