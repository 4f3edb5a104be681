"""What `/ready` and `/ping` answer, and why.

Law: ready only when the parts have been declared and every one says so; alive only while the main loop beats. Both are
set by the shell's threads and read by the HTTP server's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# Longer than a blocking client call may take (librdkafka's 60 s request timeouts), shorter than a night.
STALLED_AFTER_S = 120.0


class Health:
    """Thread-safe flags, each with the reason why it is down, and a heartbeat.

    `stalled_after_s`: seconds without a `beat` after which the main loop counts as hung. Before the first beat the
    process counts as starting, hence alive: the first compile of the kernels may take minutes.
    """

    def __init__(
        self,
        stalled_after_s: float = STALLED_AFTER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stalled_after_s = stalled_after_s
        self._clock = clock
        self._lock = threading.Lock()
        self._flags: dict[str, tuple[bool, str]] = {}
        self._beat_s: float | None = None
        self._born_s = clock()
        self._start_s: float | None = None
        self._declared = False

    def declare(self, *names: str) -> None:
        """Parts that must be ok before we are ready; each is down, "not reported yet", until it is set.

        Until this is called nothing is ready: the first part to report must not speak for those that come later.
        """
        with self._lock:
            self._declared = True
            for name in names:
                self._flags.setdefault(name, (False, "not reported yet"))

    def set(self, name: str, ok: bool, why: str = "") -> None:
        """State of one part; counts from now on where new. `why` says what is missing, for people; no secrets."""
        with self._lock:
            self._flags[name] = (ok, why)
            if self._start_s is None and self._all_ok():
                self._start_s = self._clock() - self._born_s

    def ready(self) -> bool:
        """True when parts were declared and all, with those that reported besides, are ok."""
        with self._lock:
            return self._all_ok()

    def start_s(self) -> float | None:
        """Seconds from the creation of this object to its first being ready; None before."""
        with self._lock:
            return self._start_s

    def reasons(self) -> dict[str, str]:
        """Part → why it is down, for each that is; empty when ready."""
        with self._lock:
            starting = {} if self._declared else {"start": "not all parts are known yet"}
            return starting | {name: why or "down" for name, (ok, why) in self._flags.items() if not ok}

    def beat(self) -> None:
        """The main loop has come round; call it at least every few seconds, also while restoring."""
        with self._lock:
            self._beat_s = self._clock()

    def seconds_since_beat(self) -> float | None:
        """None before the first beat."""
        with self._lock:
            return None if self._beat_s is None else self._clock() - self._beat_s

    def alive(self) -> bool:
        """False when the main loop has stopped beating."""
        silent_s = self.seconds_since_beat()
        return silent_s is None or silent_s <= self._stalled_after_s

    def _all_ok(self) -> bool:
        return self._declared and all(ok for ok, _ in self._flags.values())
