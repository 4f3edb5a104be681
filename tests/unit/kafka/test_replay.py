"""Law (restore ≡ replay): with labels in between, and in whatever slices the logs are read."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

from detector.kafka.records import Records, records_of
from detector.kafka.replay import Replay, Stretch
from tests.integration.counting import Counting, label_of

TRANSACTIONS, LABELS = "transactions", "labels"
Log = list[tuple[int, bytes | None]]  # (offset, payload)


def message(topic: str, offset: int, payload: bytes | None) -> Message:
    return Message(topic=topic, partition=0, offset=offset, value=payload, timestamp=(1, 1_000 + offset))


class Reader:
    """Hands out logs held in memory, in slices of the sizes given, over and over; 0 makes an empty one."""

    def __init__(self, logs: dict[str, Log], sizes: list[int]) -> None:
        self.logs, self.sizes = logs, sizes

    def read(self, topic: str, partition: int, start: int, stop: int) -> Generator[list[Message], None, None]:
        rest = [
            message(topic, offset, payload) for offset, payload in self.logs.get(topic, []) if start <= offset < stop
        ]
        turn = 0
        while rest:
            size = self.sizes[turn % len(self.sizes)]
            turn += 1
            yield rest[:size]
            rest = rest[size:]


def engine() -> Counting:
    return Counting("alerts", labels=True)


def run(slices: Generator[Any, None, Any]) -> Any:
    """The generator's return value."""
    while True:
        try:
            next(slices)
        except StopIteration as end:
            return end.value


def fold(steps: Iterator[tuple[str, Log]]) -> bytes:
    """State after folding micro-batches and labels in the order given."""
    ours = engine()
    state = ours.new_state(0)
    for topic, rows in steps:
        records = records_with(topic, rows)
        if topic == LABELS:
            ours.learn_labels(state, ours.decode_labels(records))
        else:
            ours.conclude(state, ours.prepare(state, ours.decode(records)))
    return ours.snapshot(state)


def records_with(topic: str, rows: Log) -> Records:
    return records_of(0, [message(topic, offset, payload) for offset, payload in rows], 0)


@st.composite
def logs(draw: st.DrawFn, payloads: st.SearchStrategy[bytes | None]) -> Log:
    """Offsets ascend, with gaps as control records make them."""
    rows: Log = []
    offset = draw(st.integers(0, 3))
    for payload in draw(st.lists(payloads, max_size=25)):
        rows.append((offset, payload))
        offset += draw(st.integers(1, 3))
    return rows


VALUES = st.integers(0, 30).map(lambda value: b"%d" % value) | st.just(b"bad") | st.none()
TOLD = st.builds(label_of, st.integers(0, 40), st.booleans()) | st.just(b"bad") | st.none()
SIZES = st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(any)


@given(logs(VALUES), logs(TOLD), st.data(), SIZES)
def test_labels_go_in_where_they_went_in_the_first_time(
    rows: Log, labels: Log, data: st.DataObject, sizes: list[int]
) -> None:
    end, labels_end = (log[-1][0] + 2 if log else 0 for log in (rows, labels))
    cuts, offset, upto = [], 0, 0
    while upto < labels_end:
        offset = data.draw(st.integers(offset, end))
        upto = data.draw(st.integers(upto + 1, labels_end))
        cuts.append((offset, upto))

    def live() -> Iterator[tuple[str, Log]]:
        at = labels_at = 0
        for offset, labels_offset in [*cuts, (end, labels_at)]:
            for row in rows:  # one by one: the other extreme of slices
                if at <= row[0] < offset:
                    yield TRANSACTIONS, [row]
            at = offset
            if new := [label for label in labels if labels_at <= label[0] < labels_offset]:
                yield LABELS, new
            labels_at = labels_offset

    ours = engine()
    state = ours.new_state(0)
    replay = Replay(ours, Reader({TRANSACTIONS: rows, LABELS: labels}, sizes), 0, state, TRANSACTIONS, LABELS)  # type: ignore[arg-type]
    run(replay.with_cuts(0, end, 0, cuts))
    assert ours.snapshot(state) == fold(live())


@given(logs(VALUES), logs(TOLD), SIZES, st.booleans())
def test_a_rebuild_merges_by_event_time(rows: Log, labels: Log, sizes: list[int], all_labels: bool) -> None:
    """A row at a time: before each those labels, in their own order, whose time it has reached."""
    end, labels_end = (log[-1][0] + 2 if log else 0 for log in (rows, labels))
    good = [label for label in labels if label[1] not in (b"bad", None)]

    def one_by_one() -> Iterator[tuple[str, Log]]:
        waiting = list(good)
        for offset, payload in rows:
            if payload not in (b"bad", None):
                while waiting and int((waiting[0][1] or b"").split()[0]) <= int(payload or b""):
                    yield LABELS, [waiting.pop(0)]
            yield TRANSACTIONS, [(offset, payload)]
        left.extend(waiting)
        if all_labels and waiting:
            yield LABELS, waiting

    left: Log = []
    ours = engine()
    state = ours.new_state(0)
    replay = Replay(ours, Reader({TRANSACTIONS: rows, LABELS: labels}, sizes), 0, state, TRANSACTIONS, LABELS)  # type: ignore[arg-type]
    next_offset = run(replay.merged(0, end, 0, labels_end, all_labels))
    assert ours.snapshot(state) == fold(one_by_one())
    assert next_offset == (left[0][0] if left and not all_labels else labels_end)


@given(logs(VALUES), SIZES, st.lists(st.integers(0, 80)))
def test_a_stretch_hands_out_each_message_once(rows: Log, sizes: list[int], marks: list[int]) -> None:
    stretch = Stretch(Reader({TRANSACTIONS: rows}, sizes).read(TRANSACTIONS, 0, 0, 100))
    at = 0
    for mark in [*sorted(marks), 100]:
        found = [one.offset() for messages in stretch.below(mark) for one in messages]
        assert found == [offset for offset, _ in rows if at <= offset < mark]
        at = max(at, mark)
    stretch.close()
