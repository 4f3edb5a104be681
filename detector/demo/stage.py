"""The stage: a folder, a broker, topics, the detector and the simulator, put up in order and taken down in any case.

    broker -> topics -> detector ready -> simulator          and back: simulator, detector -> topics -> broker -> folder

Law: after `close` nothing is left: no process, no file, and on a given broker no topic and no group of ours.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from confluent_kafka import KafkaException

from detector.demo import feed, scrape
from detector.demo.children import Child, end_all, readable, record, tail
from detector.demo.display import Display
from detector.demo.plan import METRICS_PORT, SHORT_LIVED, SHORT_LIVED_COMPACTED, Plan
from schemas.topics import TOPICS

POLL_S = 0.1
TOPICS_WAIT_S = 60.0
LEAVE_S = 12.0  # the detector allows itself 5 s for its last commit and snapshots; a loaded machine takes longer
BROKER_LEAVE_S = 10.0
EXIT_UNAVAILABLE = 69


class Stopped(Exception):
    """Asked to end during set-up."""


class Unavailable(Exception):
    """The given broker does not answer, or refuses us."""

    exit_code = EXIT_UNAVAILABLE


class Stage:
    """Call `put_up`, then `check` often, `draw_to_an_end` or not, and `close` always. Not thread-safe.

    `stopped` says whether somebody asked to end. Raises ChildEnded wherever a child has ended by itself.
    """

    def __init__(self, given_servers: str, display: Display, stopped: Callable[[], bool]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fraud-detector-demo-"))
        self.plan = Plan.draw(self.folder, given_servers)
        self.bootstrap_servers = given_servers
        self.http_url = ""
        self._display = display
        self._stopped = stopped
        self._children: dict[str, Child] = {}
        self._topics_made = False

    def put_up(self) -> None:
        """All but the simulator. Raises Stopped, Unavailable."""
        if self.plan.given_servers:
            self._display.step(f"Asking the broker at {self.bootstrap_servers}")
            if why := feed.broker_answers(self.bootstrap_servers):
                raise Unavailable(
                    f"expected a Kafka broker at {self.bootstrap_servers} (KAFKA_BOOTSTRAP_SERVERS), found none: "
                    f"{why}; start it, or unset the variable to have one started"
                )
            self._display.done(f"Broker at {self.bootstrap_servers}, as KAFKA_BOOTSTRAP_SERVERS says")
        else:
            self._start_broker()
        self.plan.write_config(self.bootstrap_servers, _free_or_any(METRICS_PORT))
        self._make_topics()
        self._start_detector()

    def start_simulator(self) -> None:
        """Transactions begin to flow."""
        self._start("simulator", self.plan.simulator(self.bootstrap_servers))

    def check(self) -> None:
        """Raises ChildEnded when one has ended by itself."""
        for child in self._children.values():
            child.check()

    def warning(self) -> str:
        """The newest warning or error of the detector's last lines; empty when it has since said anything else."""
        child = self._children.get("detector")
        lines = tail(child.log) if child is not None else []
        fields = record(lines[-1]) if lines else {}
        return readable(lines[-1]) if fields.get("level") in ("warning", "error", "critical") else ""

    def stop_simulator(self) -> None:
        """No further transactions; those sent are delivered."""
        child = self._children.pop("simulator", None)
        if child is not None:
            child.end(LEAVE_S)

    def close(self, hurry: Callable[[], bool] = lambda: False) -> list[str]:
        """Take everything down, in whatever state it is; returns what could not be. `hurry`: kill, do not wait."""
        left: list[str] = []
        children = self._children
        self._children = {}
        broker = children.pop("broker", None)
        alone = broker is not None and not broker.running  # nothing to be committed to any more
        end_all(list(children.values()), LEAVE_S, lambda: alone or hurry())
        if self.plan.given_servers and self._topics_made:
            with suppress(KafkaException):
                left = feed.remove(self.bootstrap_servers, list(self.plan.topics.values()), self.plan.application_id)
        if broker is not None:
            end_all([broker], BROKER_LEAVE_S, hurry)
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.exists():
            left.append(str(self.folder))
        return left

    def _start(self, name: str, command: list[str], finishes: bool = False) -> Child:
        child = Child(name, command, self.folder, self.plan.environment(), finishes)
        self._children[name] = child
        return child

    def _wait(self, what: str, until: Callable[[], bool], detail: Callable[[], str]) -> None:
        while not until():
            self.check()
            if self._stopped():
                raise Stopped
            self._display.step(what, detail())
            time.sleep(POLL_S)

    def _start_broker(self) -> None:
        child = self._start("broker", self.plan.broker())
        port_file = self.plan.port_file
        self._wait("Starting Apache Kafka", port_file.exists, lambda: "".join(child.last_words(1)))
        self.bootstrap_servers = port_file.read_text(encoding="ascii").strip()
        self._display.done(f"Apache Kafka answers at {self.bootstrap_servers}")

    def _make_topics(self) -> None:
        self._topics_made = True
        child = self._start("topics", self.plan.make_topics(), finishes=True)
        self._wait("Making the topics", lambda: child.finished, lambda: "")
        del self._children["topics"]
        child.end(0)
        short = {
            name: SHORT_LIVED_COMPACTED if TOPICS[role].cleanup == "compact" else SHORT_LIVED
            for role, name in self.plan.topics.items()
        }
        # It only spares disk: a given broker may not allow it.
        with suppress(*([KafkaException] if self.plan.given_servers else [])):
            feed.configure_topics(self.bootstrap_servers, short)
        self._display.done("Topics " + ", ".join(self.plan.topics.values()))

    def _start_detector(self) -> None:
        child = self._start("detector", self.plan.detector())
        self._wait("Starting the detector", lambda: self._listens(child) and self._is_ready(), lambda: _now(child))
        self._display.done(f"Detector is ready, exactly once, metrics at {self.http_url}/metrics")

    def _listens(self, child: Child) -> bool:
        for line in [] if self.http_url else tail(child.log):
            fields = record(line)
            if fields.get("event") == "starting":
                self.http_url = str(fields["http"])
        return bool(self.http_url)

    def _is_ready(self) -> bool:
        return scrape.is_ready(self.http_url + "/ready")


def _now(child: Child) -> str:
    """What the detector is at, by its last line."""
    lines = tail(child.log)
    fields = record(lines[-1]) if lines else {}
    if fields.get("event") == "kernels":
        first = "first time: " if not fields.get("done") else ""
        return f"{first}compiling kernels {fields.get('done')}/{fields.get('total')}, {fields.get('what')}"
    if fields.get("level") == "info":
        return str(fields.get("event"))
    return readable(lines[-1]) if lines else ""


def _free_or_any(port: int) -> int:
    """`port` where nobody listens there, else 0: any free one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port
