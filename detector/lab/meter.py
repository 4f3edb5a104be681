"""Seconds and peak memory of a piece of work.

Memory is the most that the whole process held, on Linux where it is asked for while the work ran, else up to its end.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_RESET_PEAK = "5"


class Meter:
    """A context manager; `seconds` and `peak_mb` are there at its end.

    `anew`: what the process held before does not count. That takes it from who measures the whole process, too.
    """

    seconds = 0.0
    peak_mb = 0.0

    def __init__(self, anew: bool = False) -> None:
        self._anew = anew

    def __enter__(self) -> Self:
        if self._anew:
            with suppress(OSError):  # not Linux, or not allowed: the peak is that of the process so far
                _CLEAR.write_text(_RESET_PEAK)
        self._began_s = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.perf_counter() - self._began_s
        self.peak_mb = _peak_mb()


def _peak_mb() -> float:
    try:
        lines = _STATUS.read_text().splitlines()
        return next(float(line.split()[1]) / 1_000 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        import resource

        per_mb = 1e6 if sys.platform == "darwin" else 1e3
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / per_mb
