"""What one embedded broker is told: ports, `server.properties`, logging, Java flags.

Contract: pure text and lists, apart from `free_ports`. Nothing here differs from a production broker in meaning
(transactions, fencing, read_committed, compaction, rebalances are all on); replication is 1, and a few waits are
shorter.
"""

from __future__ import annotations

import base64
import random
import socket
import uuid
from collections.abc import Mapping
from pathlib import Path

HOST = "127.0.0.1"
# Below the ephemeral range of every system: no client of the port can itself sit on it while its broker restarts.
_PORTS = range(20_000, 32_768)

LOG4J = """\
<Configuration status="warn">
  <Appenders><Console name="out"><PatternLayout pattern="%d{ISO8601} %p %c{1}: %m%n%throwable"/></Console></Appenders>
  <Loggers><Root level="warn"><AppenderRef ref="out"/></Root></Loggers>
</Configuration>
"""


def new_cluster_id() -> str:
    """Sixteen random bytes as Kafka writes them: URL-safe base64 without padding, never with a leading hyphen."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody listens on now. Another process may still take one first: try again."""
    found: list[int] = []
    for port in random.SystemRandom().sample(_PORTS, k=1000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"no {count} free ports between {_PORTS.start} and {_PORTS.stop - 1} on {HOST}")


def server_properties(client_port: int, controller_port: int, data: Path, overrides: Mapping[str, str]) -> str:
    """`server.properties` of one node that is broker and controller; `overrides` win."""
    lines = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "listeners": f"PLAINTEXT://{HOST}:{client_port},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{client_port}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(data),
        "auto.create.topics.enable": "false",  # a misspelt topic must be an error, as in production
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "1",
        # Broker's own: 9000. A killed broker may register again only when its old session has ended.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",  # broker's own: 2000
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",  # broker's own: 6000; lets tests see a dead member leave sooner
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",  # broker's own: 10000
        # Each of the two ends in an fsync, during which the file system holds up appends to every log (up to 0.2 s on a
        # small disk). One node needs neither: nobody else follows its metadata, and a lone replica's high watermark is
        # its log's end. Broker's own: a record that says nothing every 500 ms, a checkpoint every 5000 ms.
        "metadata.max.idle.interval.ms": "0",
        "replica.high.watermark.checkpoint.interval.ms": "60000",
        "log.cleaner.dedupe.buffer.size": str(16 << 20),  # broker's own: 128 MiB, a quarter of our heap
        "log.cleaner.backoff.ms": "1000",  # broker's own: 15000
    }
    return "".join(f"{name}={value}\n" for name, value in {**lines, **overrides}.items())


def java_flags(folder: Path, heap: str, fast_start: bool) -> list[str]:
    """Java's own arguments. `fast_start`: up 0.5 s sooner, without the optimising compiler; for tests, not benches."""
    # At full speed one thread collects a large young generation every few seconds, in 5 to 40 ms, over pages that are
    # there from the start. G1 with Kafka's own goal of 20 ms shrinks it, collects twice a second and takes up to 0.2 s
    # where its threads share two cores with everything else.
    collector = ["-XX:TieredStopAtLevel=1"] if fast_start else [f"-Xms{heap}", "-XX:NewRatio=1", "-XX:+AlwaysPreTouch"]
    return [
        "-XX:+UseSerialGC",
        *collector,
        f"-Xmx{heap}",
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:-UsePerfData",  # it and unpacked native libraries would outlive a killed broker in the common temp folder
        f"-Djava.io.tmpdir={folder / 'tmp'}",
        f"-Dlog4j2.configurationFile={folder / 'log4j2.xml'}",
        "--enable-native-access=ALL-UNNAMED",
    ]
