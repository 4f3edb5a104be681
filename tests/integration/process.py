"""A detector in a process of its own, to be stopped, frozen, continued and killed. No fixtures here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.integration.support import wait_for

ROOT = Path(__file__).parents[2]


class Detector:
    """The shell with the counting engine, or the detector's own with `core`.

    A context manager: leaving kills what still runs.

    `names`: application id and topics, as the fixture `topic_names` gives them. `kafka`, `snapshots`, `input`,
    `labels`: sections of the settings.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        names: dict[str, str],
        *,
        kafka: dict[str, Any] | None = None,
        snapshots: dict[str, int] | None = None,
        input: dict[str, Any] | None = None,
        labels: dict[str, Any] | None = None,
        pad_bytes: int = 0,
        state_fingerprint: str = "state-1",
        rebuild: bool = False,
        core: bool = False,
    ) -> None:
        topics = {role: name for role, name in names.items() if role != "application_id"}
        self.settings = {
            "application_id": names["application_id"],
            "kafka": {"bootstrap_servers": bootstrap_servers, "session_timeout_ms": 6_000, **(kafka or {})},
            "topics": topics,
            "snapshots": snapshots or {},
            "input": input or {},
            "labels": labels or {},
            "http": {"port": 0},
            "log": {"format": "json"},
            "counting": {
                "pad_bytes": pad_bytes,
                "state_fingerprint": state_fingerprint,
                "rebuild": rebuild,
                "core": core,
            },
        }
        self._errors = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115 -- closed on leaving
        self._process: subprocess.Popen[str] | None = None
        self._port = 0

    def start(self) -> Self:
        """Start without waiting for anything."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.counting", json.dumps(self.settings)],
            cwd=ROOT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self._port = 0
        return self

    def ready(self, timeout_s: float = 60) -> Self:
        """Wait until /ready says yes."""
        wait_for(self.is_ready, timeout_s, f"ready\n{self.log}", every_s=0.1)
        return self

    def is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"ended with {self.process.returncode}\n{self.log}")
        try:
            return bool(json.loads(self._get("/ready"))["ready"])
        except urllib.error.HTTPError as refusal:
            refusal.close()
            return False
        except (OSError, ValueError):
            return False

    def metric(self, name: str) -> float:
        """One sample of /metrics, such as `detector_commits_total{outcome="aborted"}`."""
        for line in self._get("/metrics").splitlines():
            if line.startswith(name + " "):
                return float(line.rpartition(" ")[2])
        raise AssertionError(f"no metric {name}")

    def stop(self, timeout_s: float = 30) -> int:
        """SIGTERM, not before it listens for that; the exit code."""
        self._listen()
        self.process.send_signal(signal.SIGTERM)
        return self.ends(timeout_s)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """SIGSTOP."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def ends(self, timeout_s: float = 60) -> int:
        """The exit code, once it has ended by itself."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout_s} s\n{self.log}") from None

    @property
    def log(self) -> str:
        """All that it logged so far."""
        return Path(f"/proc/self/fd/{self._errors.fileno()}").read_text()

    def events(self, event: str) -> list[dict[str, Any]]:
        """Log lines of one kind."""
        lines = [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process is not None, "not started"
        return self._process

    def _get(self, path: str) -> str:
        self._listen()
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def _listen(self) -> None:
        if not self._port:
            assert self.process.stdout is not None
            self._port = int(self.process.stdout.readline() or 0)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            time.sleep(0.1)
            print(self.log[-20_000:])
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._errors.close()
