"""The demo's processes: started behind a guard, watched, ended in order, their last words kept.

Law: a child that ends by itself ends the demo, which says which one it was, how it ended and what it said last.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

POLL_S = 0.05
TAIL_BYTES = 16_384
TAIL_LINES = 12
GUARD = Path(__file__).with_name("guard.py")
EXIT_INTERNAL = 70
DOCUMENTED_EXITS = (65, 69, 70, 78)  # of `detector run` and `producers`; others are ours to call internal


class ChildEnded(Exception):
    """A child ended before it was told to. `exit_code` is what the demo shall end with, never 0."""

    def __init__(self, name: str, status: int, last_words: Sequence[str]) -> None:
        how = f"was killed by signal {status - 128}" if status > 128 else f"ended with exit code {status}"
        said = "\n".join(f"  {line}" for line in last_words) or "  (nothing)"
        super().__init__(f"{name} {how}. The last it said:\n{said}")
        self.exit_code = status if status in DOCUMENTED_EXITS else EXIT_INTERNAL


class Child:
    """One process behind its guard. `folder` is removed with it should the demo be killed; `log` takes its output.

    `finishes`: it is to end by itself, with exit code 0. Not thread-safe.
    """

    def __init__(
        self, name: str, command: Sequence[str], folder: Path, env: Mapping[str, str], finishes: bool = False
    ) -> None:
        self.name = name
        self._finishes = finishes
        self.log = folder / f"{name.replace(' ', '-')}.log"
        with self.log.open("ab") as log:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", str(GUARD), str(folder), *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=dict(env),
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        """Whether it still lives."""
        return self._guard.poll() is None

    @property
    def finished(self) -> bool:
        """Whether it has ended by itself, as it should."""
        return self._finishes and self._guard.poll() == 0

    def check(self) -> None:
        """Raises ChildEnded when it has ended and should not have."""
        status = self._guard.poll()
        if status is not None and not self.finished:
            raise ChildEnded(self.name, status, self.last_words())

    def ask_to_end(self) -> None:
        """SIGTERM; returns at once."""
        if self.running:
            self._guard.terminate()

    def wait(self, timeout_s: float) -> int | None:
        """Its exit status, None when it takes longer."""
        try:
            return self._guard.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def end(self, timeout_s: float) -> int:
        """Ask, wait, then kill. Returns its exit status. Safe to call twice."""
        self.ask_to_end()
        if self.wait(timeout_s) is None:
            self.kill()
        status = self._guard.wait()
        assert self._guard.stdin is not None
        with suppress(OSError):
            self._guard.stdin.close()
        return status

    def kill(self) -> None:
        """SIGKILL to it and all that it started."""
        assert self._guard.stdin is not None
        with suppress(OSError, ValueError):
            self._guard.stdin.write(b"k")
            self._guard.stdin.flush()

    def last_words(self, lines: int = TAIL_LINES) -> list[str]:
        """The end of what it said, one line an entry, structured lines in words."""
        return [readable(line) for line in tail(self.log)[-lines:]]


def end_all(children: Sequence[Child], timeout_s: float, hurry: Callable[[], bool]) -> None:
    """Ask all at once, then wait for them; kill those that take longer together, or all that are left in a `hurry`."""
    for child in children:
        child.ask_to_end()
    deadline_s = time.monotonic() + timeout_s
    while any(child.running for child in children) and time.monotonic() < deadline_s and not hurry():
        time.sleep(POLL_S)
    for child in children:
        child.end(0)


def tail(log: Path) -> list[str]:
    """Lines at the end of a file, blank ones left out."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    lines = text.splitlines()
    if size > TAIL_BYTES:
        lines = lines[1:]  # cut in the middle
    return [line.rstrip() for line in lines if line.strip()]


def record(line: str) -> dict[str, object]:
    """A structured log line's fields; empty for any other line."""
    try:
        fields = json.loads(line)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def readable(line: str) -> str:
    """`{"event": "starting", "level": "info", "http": "..."}` → `info starting http=...`; other lines as they are."""
    fields = record(line)
    if "event" not in fields:
        return line
    event, level = fields.pop("event"), fields.pop("level", "")
    for name in ("time", "logger"):
        fields.pop(name, None)
    return " ".join([str(level), str(event), *(f"{name}={value}" for name, value in fields.items())]).strip()
