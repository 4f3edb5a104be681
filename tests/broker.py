"""Which broker the tests run on, in this order: `KAFKA_BOOTSTRAP_SERVERS`; a container where Docker answers; embedded.

There is always one, hence no test that needs a broker is ever skipped.
"""

from __future__ import annotations

import gc
import os
import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from confluent_kafka.admin import AdminClient

from detector.kafka.embedded import EmbeddedBroker

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

IMAGE = "apache/kafka:4.3.0"
_CONTAINER_WAIT_S = 120


@dataclass(frozen=True)
class ChosenBroker:
    """Where a broker listens (`host:port`) and what it is, for the report."""

    bootstrap_servers: str
    what: str


@contextmanager
def chosen_broker(say: Callable[[str], None]) -> Iterator[ChosenBroker]:
    """The broker of this run; ended afterwards, unless it was given."""
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given:
        yield ChosenBroker(given, "KAFKA_BOOTSTRAP_SERVERS")
        return
    if docker_answers():
        try:
            container, address = start_container()
        except Exception as error:  # whatever a container engine without network, space or rights may raise
            say(f"Docker answers, but {IMAGE} does not come up ({error}): taking the embedded broker")
        else:
            try:
                yield ChosenBroker(address, f"container {IMAGE}")
            finally:
                container.stop()
            return
    with EmbeddedBroker(
        progress=lambda text, done, total: say(f"{text}: {done}/{total}") if done % 10 == 0 else None
    ) as broker:
        yield ChosenBroker(broker.bootstrap_servers, f"embedded, log {broker.log_file}")


def docker_answers() -> bool:
    """Whether a Docker daemon can be used from here."""
    with warnings.catch_warnings():
        # Where none answers, docker drops its socket without closing it: collect it here, not in some later test.
        warnings.simplefilter("ignore", ResourceWarning)
        answers = _ask_docker()
        gc.collect()
    return answers


def _ask_docker() -> bool:
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=5)
        try:
            return bool(client.ping())
        finally:
            client.close()
    except (DockerException, OSError):
        return False


def start_container() -> tuple[DockerContainer, str]:
    """One KRaft node and its `host:port`, which it must advertise, hence a host port chosen here and not by Docker."""
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    container = DockerContainer(IMAGE).with_bind_ports(9092, port)
    host = container.get_docker_client().host()
    settings = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{host}:{port}",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
    }
    for name, value in settings.items():
        container.with_env(name, value)
    waiting = LogMessageWaitStrategy("Kafka Server started").with_startup_timeout(_CONTAINER_WAIT_S)
    container.waiting_for(waiting).start()
    try:
        AdminClient({"bootstrap.servers": f"{host}:{port}"}).list_topics(timeout=20)
    except BaseException:
        container.stop()
        raise
    return container, f"{host}:{port}"
