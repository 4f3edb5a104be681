"""The detector under measurement: the real process, watched through its own metrics."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

START_S_MAX = 240.0  # a first compile included


class Service:
    """A running `detector run`."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process, self.port, self.log = process, port, log

    def figures(self) -> dict[str, float]:
        """Every sample of /metrics, keyed by `name{label=value,...}`; empty while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
                text = answer.read().decode()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return {}
        found = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
                found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
        return found

    def total(self, name: str) -> float:
        """A metric summed over its labels."""
        return sum(value for key, value in self.figures().items() if key.split("{")[0] == name)

    def ready(self) -> bool:
        """Whether /ready answers 200."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready", timeout=10) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def check(self) -> None:
        """Raises RuntimeError, with the end of its log, when it has died."""
        if self.process.poll() is not None:
            raise RuntimeError(f"detector ended with {self.process.returncode}:\n{self.log.read_text()[-3000:]}")


@contextmanager
def running(config: Path, port: int, log: Path, *, wait: bool = True) -> Iterator[Service]:
    """`detector run --config CONFIG`, ready; stopped with SIGTERM at the end."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "detector", "run", "--config", str(config)],
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    service = Service(process, port, log)
    try:
        until_s = time.monotonic() + START_S_MAX
        while wait and not service.ready():
            service.check()
            if time.monotonic() > until_s:
                raise RuntimeError(f"detector not ready after {START_S_MAX:.0f} s:\n{log.read_text()[-3000:]}")
            time.sleep(0.05)
        yield service
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
