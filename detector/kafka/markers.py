"""Offsets at the end of the input that hold no record: markers of its producers' transactions, and what those aborted.

They are handed to nobody, so a task would stand before them for as long as the input is quiet: labels would wait for
them, and once retention has emptied the log nothing could tell them from records that were lost.

Law: a task moves past offsets only after they were read and held no record. A task that is not quiet is left alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence

from detector.kafka.errors import HistoryLost
from detector.kafka.tasks import Phase, Task

# Shorter gaps are not worth a look, which takes a consumer of its own.
QUIET_S = 2.0

Look = Generator[None, None, int]


class Markers:
    """The looks of one process, each advanced a slice at a time. `read_on(task)`: the offset up to which it found that
    no record follows the task's.
    """

    def __init__(self, read_on: Callable[[Task], Look]) -> None:
        self._read_on = read_on
        self._since: dict[int, tuple[int, float]] = {}
        self._looks: dict[int, tuple[Task, int, Look]] = {}

    def begin(self, tasks: Sequence[Task], ends: Callable[[int], int]) -> None:
        """Look where a task has stood before the end of its log for `QUIET_S`. `ends(partition)` as last heard of."""
        now_s = time.monotonic()
        for task in tasks:
            offset, since_s = self._since.get(task.partition, (-1, now_s))
            if offset != task.next_offset or task.touched:
                self._since[task.partition] = task.next_offset, now_s
            elif ends(task.partition) > offset and now_s - since_s >= QUIET_S and task.partition not in self._looks:
                self._since[task.partition] = offset, now_s
                self._looks[task.partition] = task, offset, self._read_on(task)

    def advance(self) -> None:
        """One slice of each look; a task still where it was when its own began is moved past what was found empty."""
        for partition, (task, offset, look) in [*self._looks.items()]:
            if task.phase is not Phase.RUNNING or task.touched or task.next_offset != offset:
                look.close()
                del self._looks[partition]
                continue
            try:
                next(look)
            except (StopIteration, HistoryLost) as ended:
                del self._looks[partition]
                if isinstance(ended, StopIteration) and ended.value > offset:
                    task.skip(ended.value)
