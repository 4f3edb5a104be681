"""A second thread for kernels, which run without the interpreter's lock.

Law: what is shared out writes to arrays of its own, so two threads give, bit for bit, what one gives.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

SHARED_ROWS_MIN = 512  # below, waking a thread costs more than it saves


def in_two(one: Callable[[], object], other: Callable[[], object], rows: int) -> None:
    """Call both, `other` in the second thread where there are rows enough; returns when both have."""
    if rows < SHARED_ROWS_MIN:
        one()
        other()
        return
    beside = _second().submit(other)
    try:
        one()
    finally:
        beside.result()


@cache
def _second() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="kernels")
