"""`/metrics`, `/ping` and `/ready` over HTTP, from daemon threads.

Law: answers never wait for the main loop, and asking changes nothing. `/ping` fails only when the loop hangs (restart
us); `/ready` fails whenever decisions are not flowing (send no traffic, page somebody), with the reasons as JSON.
"""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any
from urllib.parse import urlsplit

from prometheus_client.exposition import choose_encoder

from detector.observe.health import Health
from detector.observe.metrics import Metrics

# A scraper, a probe and a curious operator need three; more than this is somebody's mistake.
CONNECTIONS_MAX = 32
# A client that sends nothing for so long is dropped.
CLIENT_TIMEOUT_S = 10.0


class ListenError(OSError):
    """The address cannot be listened on; the message names the setting to change."""


class Server:
    """A running server; `port` is the one really listened on."""

    def __init__(self, host: str, port: int, metrics: Metrics, health: Health) -> None:
        self._http = _Http(host, port, metrics, health)
        self.host = host
        self.port: int = self._http.server_address[1]
        self._thread = threading.Thread(
            target=self._http.serve_forever,
            kwargs={"poll_interval": 0.1},
            name="http",
            daemon=True,
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Such as `http://127.0.0.1:9464`, for people; the wildcard address is shown as the loopback one."""
        loopback = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104 - shown, not listened on
        host = loopback.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def close(self) -> None:
        """Stop listening; safe to call twice."""
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
        self._http.server_close()


def serve(host: str, port: int, metrics: Metrics, health: Health) -> Server:
    """Listen on `host`:`port` (0 = any free port) until `close`.

    Raises ListenError where the port is taken or not allowed, or the host is none of this machine's.
    """
    return Server(host, port, metrics, health)


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_port = False  # two detectors must not share a port in silence
    block_on_close = False

    def __init__(self, host: str, port: int, metrics: Metrics, health: Health) -> None:
        self.metrics = metrics
        self.health = health
        self._room = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise ListenError(
                f"cannot listen on {host}:{port}: {error.strerror or error}. Change http.host or http.port in the "
                "configuration (DETECTOR_HTTP__HOST, DETECTOR_HTTP__PORT); port 0 takes any free one"
            ) from error

    def server_bind(self) -> None:
        """As socketserver does, without HTTPServer's look-up of our own host name, which may ask a slow DNS."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = (
            str(self.server_address[0]),
            int(self.server_address[1]),
        )

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no event of ours."""


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    server_version = "detector"
    sys_version = ""
    timeout = CLIENT_TIMEOUT_S

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/metrics":
            self.server.metrics.ready_state.set(self.server.health.ready())
            self.server.metrics.start_seconds.set(self.server.health.start_s() or 0.0)
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._answer(200, encode(self.server.metrics.registry), content_type)
        elif path == "/ping":
            silent_s = self.server.health.seconds_since_beat()
            body = {"alive": self.server.health.alive(), "seconds_since_beat": silent_s}
            self._answer_json(200 if body["alive"] else 503, body)
        elif path == "/ready":
            reasons = self.server.health.reasons()
            self._answer_json(503 if reasons else 200, {"ready": not reasons, "reasons": reasons})
        else:
            self._answer_json(
                404,
                {"error": f"expected /metrics, /ping or /ready, found {path[:100]}"},
            )

    do_HEAD = do_GET

    def _answer_json(self, status: int, body: dict[str, Any]) -> None:
        self._answer(status, json.dumps(body).encode() + b"\n", "application/json")

    def _answer(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """No log line a request: scrapes and probes come every few seconds."""
