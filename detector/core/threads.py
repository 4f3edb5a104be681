"""Further threads for kernels, which run without the interpreter's lock.

Law: what is shared out writes to arrays of its own, so several threads give, bit for bit, what one gives.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

Result = TypeVar("Result")

AHEAD, BESIDE = "kernels-ahead", "kernels-beside"
SHARED_ROWS_MIN = 512  # below, waking a thread costs more than it saves


def ahead(call: Callable[[], Result], rows: int) -> Callable[[], Result]:
    """Begin `call` in another thread where there are rows enough, after those begun before it; the result, or what it
    raised, comes from the call that is returned.
    """
    if rows >= SHARED_ROWS_MIN:
        return _executor(AHEAD).submit(call).result
    done = call()
    return lambda: done


def in_two(one: Callable[[], object], other: Callable[[], object], rows: int) -> None:
    """Call both, `other` in a second thread where there are rows enough; returns when both have.

    What runs ahead stays in its thread: it has the time, and the second thread is for what is waited for.
    """
    if rows < SHARED_ROWS_MIN or threading.current_thread().name.startswith(AHEAD):
        one()
        other()
        return
    wait = _executor(BESIDE).submit(other).result
    try:
        one()
    finally:
        wait()


@cache
def _executor(name: str) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix=name)  # one thread: what is begun ahead stays in order
