"""`detector demo` as a person meets it: with a terminal and without, ended in every way, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import ConfigResource, ResourceType

from detector.demo.plan import SHORT_LIVED
from tests.integration.support import admin, wait_for

ROOT = Path(__file__).parents[2]
PATIENCE_S = 90.0  # a cold kernel cache takes tens of seconds
SECONDS = 15


class Demo:
    """One demo in a folder for temporary files of its own; its output is in a file, or on a terminal."""

    def __init__(self, folder: Path, servers: str | None, arguments: tuple[str, ...], terminal: bool) -> None:
        self.folder = folder
        self.output = b""
        env = {name: value for name, value in os.environ.items() if name != "KAFKA_BOOTSTRAP_SERVERS"}
        env |= {"TMPDIR": str(folder), "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
        env |= {} if servers is None else {"KAFKA_BOOTSTRAP_SERVERS": servers}
        self._ours, theirs = pty.openpty() if terminal else os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "detector", "demo", *arguments],
            cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)

    @property
    def text(self) -> str:
        """Everything said so far."""
        while select.select([self._ours], [], [], 0)[0]:
            try:
                chunk = os.read(self._ours, 65_536)
            except OSError:  # what Linux makes of a terminal without anybody at its other end
                break
            if not chunk:
                break
            self.output += chunk
        return self.output.decode("utf-8", "replace")

    def wait_for(self, pattern: str) -> None:
        """Until it has said so."""
        wait_for(lambda: bool(re.search(pattern, self.text)) or self.process.poll() is not None, PATIENCE_S, pattern)
        assert re.search(pattern, self.text), self.text

    def ends(self) -> int:
        """Its exit code; the pipe is read meanwhile, for a full one would hold it up."""
        wait_for(lambda: self.text is not None and self.process.poll() is not None, PATIENCE_S, "the demo ends")
        return self.process.returncode

    def close(self) -> None:
        """Kill what still runs."""
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def left(self) -> list[str]:
        """Files and processes of this demo."""
        listed = subprocess.run(["ps", "-eww", "-o", "args="], capture_output=True, text=True, check=True).stdout
        return [*map(str, self.folder.iterdir()), *(line for line in listed.splitlines() if str(self.folder) in line)]

    def child(self, module: str) -> int:
        """Process id of the child that runs this module."""
        listed = subprocess.run(["ps", "-eww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
        rows = [line.split(maxsplit=2) for line in listed.stdout.splitlines()]
        guards = {pid for pid, ppid, _ in rows if ppid == str(self.process.pid)}
        (found,) = [pid for pid, ppid, args in rows if ppid in guards and f"-m {module}" in args]
        return int(found)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    with contextlib.ExitStack() as stack:

        def begin(*arguments: str, servers: str | None = None, terminal: bool = False) -> Demo:
            folder = tmp_path / "temporary"
            folder.mkdir()
            started = Demo(folder, servers, arguments, terminal)
            stack.callback(started.close)
            return started

        yield begin


def figure(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    assert found, f"{pattern} in\n{text}"
    return float(found[1].replace(",", ""))


@pytest.mark.slow
def test_it_ends_by_itself_with_alerts_reasons_and_a_summary(
    demo: Callable[..., Demo], broker_jars: list[Path]
) -> None:
    running = demo("--seconds", str(SECONDS))
    running.wait_for("Detector is ready")
    ready_s = time.monotonic()
    running.wait_for(r"\nALERT .*  \((fraud: [a-z ]+|genuine)\)  \S+ \S+ ")
    assert time.monotonic() - ready_s < 30.0
    assert running.ends() == 0, running.text
    text = running.text
    assert figure(r"([\d,]+) transactions in ", text) > 1_000 * SECONDS / 2
    alerts = int(figure(r"\n(\d+) alerts, 0 dead letters, 0 records undecided", text))
    assert alerts == len(re.findall(r"^ALERT ", text, re.MULTILINE)) >= 5
    assert figure(r"precision [\d.]+ %, (\d+) times chance", text) >= 10
    assert 0 <= figure(r"recall ([\d.]+) %", text) <= 100
    assert figure(r"p50 ([\d,]+) ms", text) < 2_000
    assert '"spec_fingerprint"' in text
    assert "card testing" in text
    assert running.left() == []


@pytest.mark.slow
def test_on_a_given_broker_it_takes_away_what_it_made(demo: Callable[..., Demo], kafka: str) -> None:
    running = demo(servers=kafka)
    running.wait_for(r"\nALERT ")
    application = re.search(r"fraud-demo-[0-9a-f]{8}", running.text)
    assert application
    client = admin(kafka)
    resource = ConfigResource(ResourceType.TOPIC, f"{application[0]}.transactions")
    assert client.describe_configs([resource])[resource].result()["retention.ms"].value == SHORT_LIVED["retention.ms"]
    running.process.send_signal(signal.SIGTERM)
    assert running.ends() == 0, running.text
    assert "precision" in running.text
    assert "could not be removed" not in running.text
    wait_for(
        lambda: not any(topic.startswith(application[0]) for topic in admin(kafka).list_topics(timeout=10).topics),
        20, "the demo's topics are gone",
    )  # fmt: skip
    groups = client.list_consumer_groups().result(30).valid
    assert not any(group.group_id.startswith(application[0]) for group in groups)
    assert running.left() == []


@pytest.mark.slow
def test_on_a_terminal_it_draws_and_ctrl_c_ends_it(demo: Callable[..., Demo], kafka: str) -> None:
    running = demo(servers=kafka, terminal=True)
    running.wait_for(r"(?s)\x1b\[\?1049h.*transactions/s.*risk \d+\.\d")
    os.kill(running.process.pid, signal.SIGINT)
    assert running.ends() == 0, running.text
    after = running.text.split("\x1b[?1049l")[-1]
    assert "precision" in after
    assert "Traceback" not in running.text
    assert running.text.rindex("\x1b[?25h") > running.text.rindex("\x1b[?25l")
    assert running.left() == []


@pytest.mark.slow
@pytest.mark.parametrize("module", ["detector run", "producers simulate"])
def test_a_child_that_dies_is_named(demo: Callable[..., Demo], kafka: str, module: str) -> None:
    running = demo(servers=kafka)
    running.wait_for("Detector is ready")
    wait_for(lambda: b"transactions, lag" in running.text.encode(), PATIENCE_S, "transactions flow")
    os.kill(running.child(module), signal.SIGKILL)
    assert running.ends() == 70, running.text
    name = "detector" if module == "detector run" else "simulator"
    assert f"The demo cannot go on: {name} was killed by signal 9. The last it said:\n  " in running.text
    assert running.left() == []


@pytest.mark.slow
def test_when_it_is_killed_nothing_is_left(demo: Callable[..., Demo], broker_jars: list[Path]) -> None:
    running = demo()
    running.wait_for(r"\nALERT ")
    assert running.left() != []
    running.process.kill()
    wait_for(lambda: running.left() == [], 20, f"nothing is left: {running.left()}")


def test_asked_during_set_up_it_ends_at_once(demo: Callable[..., Demo], broker_jars: list[Path]) -> None:
    running = demo()
    running.wait_for("Starting Apache Kafka")
    time.sleep(1.0)
    running.process.send_signal(signal.SIGINT)
    assert running.ends() == 0, running.text
    assert running.left() == []


def test_without_the_given_broker_it_says_so(demo: Callable[..., Demo]) -> None:
    running = demo(servers="127.0.0.1:1")
    assert running.ends() == 69
    assert "expected a Kafka broker at 127.0.0.1:1 (KAFKA_BOOTSTRAP_SERVERS), found none" in running.text
    assert running.left() == []
