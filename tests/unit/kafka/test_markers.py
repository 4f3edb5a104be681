"""When a task is looked after, and when it is moved past offsets that hold no record."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from detector.kafka import markers
from detector.kafka.errors import HistoryLost
from detector.kafka.markers import Look, Markers
from detector.kafka.tasks import Task

END = 12


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> Task:
    """It has read all below 10, and been quiet for long enough."""
    monkeypatch.setattr(markers, "QUIET_S", 0.0)
    task = Task(0)
    task.restored("state", 10, 0, 5, None, 0)
    return task


def finds(end: int) -> Callable[[Task], Look]:
    def read_on(task: Task) -> Look:
        yield
        return end

    return read_on


def look(found: Markers, task: Task, end: int = END) -> None:
    for _ in range(3):
        found.begin([task], lambda _partition: end)
        found.advance()


def test_a_quiet_task_moves_past_what_holds_no_record(task: Task) -> None:
    look(Markers(finds(END)), task)
    assert (task.next_offset, task.touched, task.changed) == (END, True, True), "to be committed, and to be snapshot"
    task.committed()
    assert task.at_boundary


def test_it_stays_where_a_record_follows(task: Task) -> None:
    look(Markers(finds(10)), task)
    assert (task.next_offset, task.touched) == (10, False)


def test_at_the_end_of_the_log_nobody_looks(task: Task) -> None:
    look(Markers(finds(END)), task, end=10)
    assert task.next_offset == 10


def test_a_look_that_records_overtake_counts_for_nothing(task: Task) -> None:
    found = Markers(finds(END))
    found.begin([task], lambda _partition: END)
    found.begin([task], lambda _partition: END)
    found.advance()
    task.next_offset = 11
    found.advance()
    assert task.next_offset == 11


def test_a_log_emptied_meanwhile_says_nothing(task: Task) -> None:
    def read_on(task: Task) -> Look:
        yield
        raise HistoryLost("gone")

    look(Markers(read_on), task)
    assert task.next_offset == 10
