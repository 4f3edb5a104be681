"""Seconds and peak memory of a piece of work.

Memory is the most that the whole process held while the work ran, as Linux counts it; elsewhere the most it ever held.
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
    """A context manager; `seconds` and `peak_mb` are there at its end."""

    seconds = 0.0
    peak_mb = 0.0

    def __enter__(self) -> Self:
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
