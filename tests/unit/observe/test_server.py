"""The HTTP endpoints, asked as Prometheus, Kubernetes and a curious person ask them."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from detector.observe import server as module
from detector.observe.health import Health
from detector.observe.metrics import Metrics
from detector.observe.server import ListenError, Server, serve


@pytest.fixture
def health() -> Health:
    return Health(stalled_after_s=30.0)


@pytest.fixture
def server(health: Health) -> Iterator[Server]:
    running = serve("127.0.0.1", 0, Metrics(), health)
    yield running
    running.close()


def _ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, response.headers.get("Content-Type", ""), response.read()
    finally:
        connection.close()


def _ask_json(port: int, path: str) -> tuple[int, dict[str, Any]]:
    status, content_type, body = _ask(port, path)
    assert content_type == "application/json"
    return status, json.loads(body)


def test_metrics_can_be_parsed_and_tell_readiness(server: Server, health: Health) -> None:
    health.declare("restored")
    health.set("restored", True)
    status, content_type, body = _ask(server.port, "/metrics?x=1")
    assert status == 200
    assert content_type.startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    assert families["detector_ready_state"].samples[0].value == 1
    assert families["detector_start_seconds"].samples[0].value > 0
    assert "process_resident_memory_bytes" in families


def test_open_metrics_where_asked_for(server: Server) -> None:
    status, content_type, body = _ask(server.port, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert status == 200
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_ready_tells_why_not(server: Server, health: Health) -> None:
    health.declare("restored", "consumer")
    health.set("consumer", False, "broker away")
    assert _ask_json(server.port, "/ready") == (
        503,
        {"ready": False, "reasons": {"restored": "not reported yet", "consumer": "broker away"}},
    )
    health.set("restored", True)
    health.set("consumer", True)
    assert _ask_json(server.port, "/ready") == (200, {"ready": True, "reasons": {}})


def test_ping_fails_when_the_loop_hangs() -> None:
    now_s = [0.0]
    health = Health(stalled_after_s=30.0, clock=lambda: now_s[0])
    running = serve("127.0.0.1", 0, Metrics(), health)
    try:
        assert _ask_json(running.port, "/ping") == (200, {"alive": True, "seconds_since_beat": None})
        health.beat()
        now_s[0] = 31.0
        assert _ask_json(running.port, "/ping") == (503, {"alive": False, "seconds_since_beat": 31.0})
    finally:
        running.close()


def test_other_paths_and_methods(server: Server) -> None:
    status, body = _ask_json(server.port, "/secret")
    assert status == 404
    assert "/metrics" in body["error"]
    assert _ask(server.port, "/ready", "HEAD")[0] == 503
    assert _ask(server.port, "/ready", "HEAD")[2] == b""
    assert _ask(server.port, "/metrics", "POST")[0] == 501


def test_busy_port_names_the_setting(server: Server, health: Health) -> None:
    with pytest.raises(ListenError, match=rf"127\.0\.0\.1:{server.port}.*http\.port.*DETECTOR_HTTP__PORT"):
        serve("127.0.0.1", server.port, Metrics(), health)


def test_foreign_host_names_the_setting(health: Health) -> None:
    with pytest.raises(ListenError, match=r"http\.host"):
        serve("192.0.2.1", 0, Metrics(), health)


def test_close_frees_the_port_and_may_be_repeated(health: Health) -> None:
    first = serve("127.0.0.1", 0, Metrics(), health)
    assert _ask(first.port, "/ping")[0] == 200
    first.close()
    first.close()
    with pytest.raises(OSError, match="refused"):
        _ask(first.port, "/ping")
    second = serve("127.0.0.1", first.port, Metrics(), health)
    assert _ask(second.port, "/ping")[0] == 200
    second.close()


def test_idle_clients_are_bounded_and_block_nobody(monkeypatch: pytest.MonkeyPatch, health: Health) -> None:
    monkeypatch.setattr(module, "CONNECTIONS_MAX", 3)
    monkeypatch.setattr(module._Handler, "timeout", 0.5)
    running = serve("127.0.0.1", 0, Metrics(), health)
    idle = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(2)]
    try:
        assert _ask(running.port, "/ping")[0] == 200
        more = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(5)]
        dropped = 0
        for connection in more:
            connection.settimeout(5)
            dropped += connection.recv(1) == b""
            connection.close()
        assert dropped == 5  # some at once for want of room, the others after the time-out
        assert _ask(running.port, "/ping")[0] == 200
        assert threading.active_count() < 10
    finally:
        for connection in idle:
            connection.close()
        running.close()


@pytest.mark.parametrize(
    ("host", "shown"), [("127.0.0.1", "http://127.0.0.1:"), ("0.0.0.0", "http://127.0.0.1:"), ("::1", "http://[::1]:")]
)
def test_url_is_for_people(host: str, shown: str, health: Health) -> None:
    if host == "::1" and not _has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    running = serve(host, 0, Metrics(), health)
    assert running.url == f"{shown}{running.port}"
    running.close()


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
