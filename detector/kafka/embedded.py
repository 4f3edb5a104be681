"""A real Apache Kafka in a child process, from wheels alone: no Docker and no installed Java. For the demo, tests and
benches.

Contract: after `start` the broker answers an admin client at `bootstrap_servers`; `kill` and `stop` followed by `start`
bring the same data back on the same port; when the owner ends, in whatever way, the Java process ends too, and so does
the folder unless it was given.

    NEW -> start -> UP -> stop | kill -> DOWN -> start -> UP ... -> close -> gone

`python -m detector.kafka.embedded` runs one until SIGTERM or SIGINT. One node, data unreplicated: not for production.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from detector.kafka import embedded_config as config
from detector.kafka.embedded_jars import KAFKA_VERSION, EmbeddedBrokerError, Progress, class_path, java

__all__ = ["EmbeddedBroker", "EmbeddedBrokerError"]

_UP_WAIT_S = 90.0  # up in 2 s when idle; a loaded two-core machine takes 20
_STOP_WAIT_S = 15.0  # an orderly stop takes 3 s
_PORT_ATTEMPTS = 5
_LOG_TAIL_LINES = 25
_JAVA_OPTION_VARIABLES = ("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH")


class EmbeddedBroker:
    """One Kafka node. A context manager: entering starts it, leaving ends it.

    `folder`: where data and logs live; given, it is kept and can be opened again later; else a temporary one, removed
    at the end. `heap`: as Java's -Xmx. `fast_start`: Java flags for tests; False for benches. `progress`: told about
    the first-time download. `properties`: further lines of `server.properties`. `version`: one with a lock file. Not
    thread-safe: one owner.
    """

    def __init__(
        self,
        folder: Path | str | None = None,
        fast_start: bool = True,
        heap: str = "512m",
        progress: Progress | None = None,
        properties: Mapping[str, str] | None = None,
        version: str = KAFKA_VERSION,
    ) -> None:
        self._version = version
        self._given = Path(folder).resolve() if folder is not None else None
        self._folder: Path | None = None
        self._fast_start = fast_start
        self._heap = heap
        self._progress = progress
        self._properties = dict(properties or {})
        self._ports: list[int] = []
        self._guard: subprocess.Popen[bytes] | None = None
        self._pid = 0

    @property
    def bootstrap_servers(self) -> str:
        """`host:port`, the same for this object's whole life. Raises EmbeddedBrokerError before the first start."""
        if not self._ports:
            raise EmbeddedBrokerError(
                "the embedded broker has no address before its first start(): enter it as a context manager"
            )
        return f"{config.HOST}:{self._ports[0]}"

    @property
    def pid(self) -> int:
        """Process id of the Java process. Raises EmbeddedBrokerError while it is down."""
        if not self.running:
            raise EmbeddedBrokerError("the embedded broker is down: call start()")
        return self._pid

    @property
    def running(self) -> bool:
        """Whether the Java process lives."""
        return self._guard is not None and self._guard.poll() is None

    @property
    def log_file(self) -> Path:
        """What the broker wrote to its console, of all starts."""
        return self._home() / "broker.log"

    def start(self) -> None:
        """Start and wait until the broker answers; on the data and port of the run before, if there was one.

        Raises EmbeddedBrokerError, with the end of the broker's log, when it does not come up.
        """
        if self.running:
            return
        jars = class_path(self._progress, self._version)
        home = self._home()
        for part in ("data", "tmp"):
            (home / part).mkdir(parents=True, exist_ok=True)
        (home / "log4j2.xml").write_text(config.LOG4J, encoding="ascii")
        first = not self._ports
        for attempt in range(_PORT_ATTEMPTS):
            if first:
                self._ports = config.free_ports(2)
            begin = self._log_end()
            self._spawn(home, jars)
            why = self._wait_until_up()
            if not why:
                return
            self.kill()
            tail = self._log_tail(begin)
            taken = "Address already in use" in tail or "BindException" in tail
            if not taken or attempt + 1 == _PORT_ATTEMPTS:
                raise EmbeddedBrokerError(
                    f"Apache Kafka {self._version} at {self.bootstrap_servers} {why}. The end of its log:\n{tail}"
                )
            time.sleep(0 if first else 1)  # first start: other ports; later: clients know this port, so wait for it

    def stop(self) -> None:
        """Orderly end (SIGTERM, about 3 s); killed when it takes longer than 15 s. The data stays."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End at once (SIGKILL), as a crash would. The data stays."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """End it for good: orderly where the folder is kept, at once where the folder goes with it."""
        if self._given is not None:
            self.stop()
            return
        self.kill()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _home(self) -> Path:
        if self._folder is None:
            self._folder = self._given or Path(tempfile.mkdtemp(prefix="fraud-detector-kafka-"))
        return self._folder

    def _spawn(self, home: Path, jars: list[Path]) -> None:
        properties = home / "server.properties"
        properties.write_text(
            config.server_properties(self._ports[0], self._ports[1], home / "data", self._properties), encoding="utf-8"
        )
        command = [
            str(java()),
            *config.java_flags(home, self._heap, self._fast_start),
            "-cp",
            os.pathsep.join(map(str, jars)),
        ]
        env = {name: value for name, value in os.environ.items() if name not in _JAVA_OPTION_VARIABLES}
        with self.log_file.open("ab") as log:
            if not self._cluster_id():
                tool = [
                    *command,
                    "kafka.tools.StorageTool",
                    "format",
                    "-t",
                    config.new_cluster_id(),
                    "-c",
                    str(properties),
                ]
                if subprocess.run(
                    tool, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, cwd=home, check=False
                ).returncode:
                    raise EmbeddedBrokerError(
                        f"cannot format the broker's folder {home}. The end of its log:\n{self._log_tail(0)}"
                    )
            guard = Path(__file__).with_name("embedded_guard.py")
            self._guard = subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    "-S",
                    str(guard),
                    "" if self._given else str(home),
                    *command,
                    "kafka.Kafka",
                    str(properties),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=env,
                cwd=home,
                start_new_session=True,  # Ctrl-C in the owner's terminal is the owner's to handle
            )
        assert self._guard.stdout is not None
        self._pid = int(self._guard.stdout.readline() or 0)

    def _wait_until_up(self) -> str:
        """Empty once the broker answers, else why it does not."""
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        own = self._cluster_id()
        deadline = time.monotonic() + _UP_WAIT_S
        while time.monotonic() < deadline:
            if not self.running:
                return "ended while starting"
            with socket.socket() as probe:
                listens = probe.connect_ex((config.HOST, self._ports[0])) == 0
            if not listens:
                time.sleep(0.05)
                continue
            try:
                client = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
                metadata = client.list_topics(timeout=2)
            except KafkaException:
                metadata = None
            # Another's broker may have been first on this port: only the right cluster is ours.
            if metadata and metadata.brokers and str(metadata.cluster_id) == own:
                return ""
            time.sleep(0.1)
        return f"did not answer within {_UP_WAIT_S:.0f} s"

    def _end(self, how: signal.Signals) -> None:
        guard, self._guard = self._guard, None
        if guard is None:
            return
        if guard.poll() is None:  # the guard reaps, so while it lives the id is still the broker's
            os.kill(self._pid, how)
            try:
                guard.wait(_STOP_WAIT_S)
            except subprocess.TimeoutExpired:
                os.kill(self._pid, signal.SIGKILL)
        guard.wait()
        for stream in (guard.stdin, guard.stdout):
            assert stream is not None
            stream.close()

    def _cluster_id(self) -> str:
        """Identity of the data in the folder; empty before it is formatted."""
        file = self._home() / "data" / "meta.properties"
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        return next((line.removeprefix("cluster.id=") for line in lines if line.startswith("cluster.id=")), "")

    def _log_end(self) -> int:
        return self.log_file.stat().st_size if self.log_file.exists() else 0

    def _log_tail(self, begin: int) -> str:
        with self.log_file.open("rb") as log:
            log.seek(begin)
            lines = log.read().decode("utf-8", "replace").splitlines()
        return "\n".join(lines[-_LOG_TAIL_LINES:]) or "(empty)"


def main(argv: list[str] | None = None) -> int:
    """Run one broker until SIGTERM or SIGINT. Returns 0; 69 when it cannot be had, fails to start or ends by itself."""
    parser = argparse.ArgumentParser(
        prog="python -m detector.kafka.embedded",
        description=f"Run Apache Kafka {KAFKA_VERSION} until SIGTERM or SIGINT.",
    )
    parser.add_argument(
        "--port-file", type=Path, help="write host:port here once the broker answers; removed at the end"
    )
    parser.add_argument(
        "--folder", type=Path, help="keep the data here (default: a temporary folder, removed at the end)"
    )
    parser.add_argument("--heap", default="512m", help="Java heap (default: %(default)s)")
    parser.add_argument(
        "--full-speed", action="store_true", help="let Java optimise fully: 0.5 s slower to start, faster under load"
    )
    parser.add_argument("--with-parent", action="store_true", help="end when the process that started this one ends")
    options = parser.parse_args(argv)
    parent = os.getppid() if options.with_parent else 0
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # SIGINT: a shell's background jobs start deaf to it
        signal.signal(number, _interrupt)
    try:
        with EmbeddedBroker(options.folder, fast_start=not options.full_speed, heap=options.heap) as broker:
            return _serve(broker, options.port_file, parent)
    except KeyboardInterrupt:
        return 0
    except EmbeddedBrokerError as error:
        print(error, file=sys.stderr)
        return 69


def _serve(broker: EmbeddedBroker, port_file: Path | None, parent: int) -> int:
    try:
        if port_file is not None:
            draft = port_file.with_name(port_file.name + ".draft")
            draft.write_text(broker.bootstrap_servers + "\n", encoding="ascii")
            draft.replace(port_file)  # whoever waits for the file never reads half of it
        where = f"process {broker.pid}, log {broker.log_file}"
        print(f"Apache Kafka {KAFKA_VERSION} answers at {broker.bootstrap_servers} ({where})", flush=True)
        while broker.running:
            if parent and os.getppid() != parent:
                return 0
            time.sleep(0.2)
        print(f"Apache Kafka ended by itself; its log: {broker.log_file}", file=sys.stderr)
        return 69
    finally:
        if port_file is not None:
            port_file.unlink(missing_ok=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
