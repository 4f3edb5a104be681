"""A run: rows when they are due, labels in order after their delay, files that hold both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.encoding import Batch
from producers.pace import STALL_S, FlatOut, Pace, Rate, Schedule, Speed
from producers.publish import PublishError
from producers.run import FileSink, Tally, run


def batch_of(times: list[int], labelled: list[int] | None = None) -> Batch:
    rows = list(range(len(times))) if labelled is None else labelled
    return Batch(
        keys=[f"k{time}" for time in times],
        payloads=[f"t{time}".encode() for time in times],
        event_time_ms=np.array(times, np.int64),
        label_row=np.array(rows, np.int64),
        label_keys=[f"k{times[row]}" for row in rows],
        label_payloads=[f"l{times[row]}".encode() for row in rows],
        fraud=np.isin(np.arange(len(times)), rows),
    )


class Tape:
    """A sink that remembers the order of everything, and stops after `room` transactions."""

    fault = None

    def __init__(self, room: int = 1_000_000) -> None:
        self.records: list[bytes] = []
        self.room = room

    def transactions(self, keys: Sequence[str | None], payloads: Sequence[bytes]) -> int:
        taken = payloads[: self.room]
        self.room -= len(taken)
        self.records += taken
        return len(taken)

    def labels(self, keys: Sequence[str | None], payloads: Sequence[bytes]) -> int:
        self.records += payloads
        return len(payloads)

    def close(self) -> int:
        return 0

    def update(self, tally: Tally) -> None:
        pass


class Clock:
    """Time that passes only while somebody waits, like an Event that is never set."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.waits = 0

    def __call__(self) -> float:
        return self.now_s

    def wait(self, timeout: float) -> bool:
        self.now_s += timeout
        self.waits += 1
        return False

    def is_set(self) -> bool:
        return False


def sent(batches: list[Batch], delay_ms: int, pace: Pace | None = None, limit: int = 0) -> tuple[list[str], Tally]:
    tape, tally = Tape(), Tally()
    run(iter(batches), tape, pace or FlatOut(), delay_ms, Event(), tape, tally, limit)
    return [record.decode() for record in tape.records], tally


def test_labels_leave_when_their_time_has_come() -> None:
    batches = [batch_of([0, 10]), batch_of([20, 30]), batch_of([40])]
    assert sent(batches, 20)[0] == ["t0", "t10", "t20", "t30", "l0", "l10", "t40", "l20", "l30", "l40"]


def test_without_delay_a_label_follows_its_slice() -> None:
    assert sent([batch_of([0, 10], [1]), batch_of([20])], 0)[0] == ["t0", "t10", "l10", "t20", "l20"]


@given(st.lists(st.lists(st.integers(0, 100), min_size=1, max_size=8), max_size=8), st.integers(0, 60))
def test_labels_are_in_order_of_their_time_and_none_is_lost(times: list[list[int]], delay_ms: int) -> None:
    """In a stream in event-time order, however it is cut."""
    flat = sorted(time for part in times for time in part)
    batches, at = [], 0
    for part in times:
        batches.append(batch_of(flat[at : at + len(part)]))
        at += len(part)
    records, tally = sent(batches, delay_ms)
    labels = [int(record[1:]) for record in records if record[0] == "l"]
    assert labels == sorted(labels) == flat
    assert [int(record[1:]) for record in records if record[0] == "t"] == flat
    assert (tally.transactions, tally.labels) == (len(flat), len(flat))
    for place, record in enumerate(records):
        if record[0] == "l":
            assert "t" + record[1:] in records[:place], "a label never comes before its transaction"


def test_limit_cuts_a_batch_and_its_labels() -> None:
    records, tally = sent([batch_of([0, 10, 20]), batch_of([30])], 0, limit=2)
    assert records == ["t0", "t10", "l0", "l10"]
    assert tally == Tally(2, 2, 2, 0, 10)


def test_what_the_sink_did_not_take_is_not_counted() -> None:
    tape, tally = Tape(room=1), Tally()
    run(iter([batch_of([5, 10])]), tape, FlatOut(), 0, Event(), tape, tally)
    assert tape.records == [b"t5", b"l5"]
    assert tally.transactions == 1


def test_stop_ends_between_slices() -> None:
    stop, tape, tally = Event(), Tape(), Tally()
    stop.set()
    run(iter([batch_of([1])]), tape, Rate(1.0), 0, stop, tape, tally)
    assert tape.records == []


def test_rate_is_even_over_batches() -> None:
    clock = Clock()
    schedule = Schedule(Rate(1_000.0), clock, clock)  # type: ignore[arg-type]
    for _ in range(5):
        parts = list(schedule.slices(np.zeros(200, np.int64)))
        assert [part.start for part in parts[1:]] == [part.stop for part in parts[:-1]]
        assert parts[-1].stop == 200
    assert clock.now_s - 100 == pytest.approx(0.999, abs=0.01)
    assert clock.waits > 300, "in small slices, not in bursts"


def test_speed_follows_event_time_and_never_waits_for_the_past() -> None:
    clock = Clock()
    schedule = Schedule(Speed(60.0), clock, clock)  # type: ignore[arg-type]
    times = np.array([0, 60_000, 30_000, 120_000], np.int64)
    taken = []
    for part in schedule.slices(times):
        taken += [(row, clock.now_s - 100) for row in range(part.start, part.stop)]
    assert taken == [(0, 0.0), (1, pytest.approx(1.0)), (2, pytest.approx(1.0)), (3, pytest.approx(2.0))]


def test_a_stall_is_not_made_up_for_in_a_burst() -> None:
    clock = Clock()
    schedule = Schedule(Rate(100.0), clock, clock)  # type: ignore[arg-type]
    sizes = []
    for part in schedule.slices(np.zeros(200, np.int64)):
        sizes.append(part.stop - part.start)
        if len(sizes) == 50:
            clock.now_s += 30
    assert max(sizes) <= 100 * STALL_S
    assert clock.now_s - 100 == pytest.approx(30 + 2, abs=0.1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux alone has a device that is always full")
def test_a_full_disk_is_named_when_writing_and_when_closing(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.labels.jsonl"):
        (tmp_path / name).symlink_to("/dev/full")
    sink = FileSink(tmp_path / "a.jsonl", tmp_path / "a.labels.jsonl")
    with pytest.raises(PublishError, match=r"a\.jsonl: cannot be written to its end: No space left") as caught:
        sink.transactions([None], [bytes(1_000_000)])
    assert caught.value.exit_code == 78
    sink.close()
    sink = FileSink(tmp_path / "b.jsonl", tmp_path / "a.labels.jsonl")
    sink.labels([None], [b"{}"])
    assert sink.fault is None
    sink.close()
    assert sink.fault is not None
    assert "a.labels.jsonl: cannot be written" in str(sink.fault)


def test_file_sink_writes_lines(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "a.jsonl", tmp_path / "a.labels.jsonl")
    sink.transactions([None, None], [b'{"a":1}', b'{"a":2}'])
    sink.labels([None], [b"{}"])
    assert sink.close() == 0
    assert (tmp_path / "a.jsonl").read_bytes() == b'{"a":1}\n{"a":2}\n'
    assert (tmp_path / "a.labels.jsonl").read_bytes() == b"{}\n"
