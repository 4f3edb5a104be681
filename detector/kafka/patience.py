"""Waiting for a broker: say so once, then every half minute, and say when it is back.

Law: a broker that is away loses nothing and floods no log. A wait ends when the broker is back, when the process is
asked to stop, or at the deadline that the caller set; the last two raise `OutOfPatience`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import structlog
from confluent_kafka import KafkaError, KafkaException

from detector.kafka.errors import OutOfPatience
from detector.observe.health import Health

SAY_EVERY_S = 30.0
RETRY_WAIT_S = 0.25
BROKER = "broker"
AWAY, BACK = "broker does not do as asked; trying on", "broker serves again"

Result = TypeVar("Result")
log = structlog.get_logger(__name__)


class Patience:
    """Shared by all that talk to the broker in the main thread. `stop` is set when the process is asked to end.

    `servers` are those that were asked to serve, for the log.
    """

    def __init__(self, stop: threading.Event, health: Health, servers: str) -> None:
        self._stop, self._health, self._servers = stop, health, servers
        self._heard = ""
        self._away_since_s: float | None = None
        self._said, self._silent_until_s = False, 0.0
        self._healthy = False
        self._deadline_s: float | None = None

    @property
    def away(self) -> bool:
        """Whether the last thing heard was that the broker is away."""
        return self._away_since_s is not None

    def insist(self, what: str, call: Callable[[], Result]) -> Result:
        """`call()`, again and again with the same arguments as long as it fails in a way that may pass.

        Raises KafkaException for any other error, OutOfPatience as the module says.
        """
        while True:
            try:
                result = undisguised(call)
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise
                self.failed(what, error.args[0])
                self.wait()
            else:
                self.succeeded()
                return result

    def heard(self, error: KafkaError) -> None:
        """What an error callback is given: a failure where no broker is left, else the reason of the next one."""
        if error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._AUTHENTICATION):
            self.failed("connect", error)
        elif error.code() in (KafkaError._TRANSPORT, KafkaError._RESOLVE, KafkaError._SSL):
            self._heard = error.str()

    def failed(self, what: str, error: KafkaError | str) -> None:
        """Note that the broker did not do as asked; logs at most every `SAY_EVERY_S`, whatever goes on between."""
        now_s = time.monotonic()
        if self._away_since_s is None:
            self._away_since_s = now_s
        reason = error if isinstance(error, str) else error.str()
        self._health.set(BROKER, False, f"{what}: {reason}")
        if now_s >= self._silent_until_s:
            self._silent_until_s, self._said = now_s + SAY_EVERY_S, True
            heard = {"heard": self._heard} if self._heard else {}
            away_s = round(now_s - self._away_since_s, 1)
            log.warning(AWAY, servers=self._servers, doing=what, error=reason, away_s=away_s, **heard)

    def succeeded(self) -> None:
        """Note that the broker did as asked."""
        self._heard = ""
        if self._away_since_s is None and self._healthy:
            return
        self._healthy = True
        if self._said and self._away_since_s is not None:
            log.info(BACK, away_s=round(time.monotonic() - self._away_since_s, 1))
        self._away_since_s, self._said = None, False
        self._health.set(BROKER, True)

    def wait(self, seconds: float = RETRY_WAIT_S) -> None:
        """Sleep before the next try. Raises OutOfPatience when there is to be none."""
        self._health.beat()
        deadline_s = self._deadline_s
        if deadline_s is not None and time.monotonic() > deadline_s:
            raise OutOfPatience("the broker did not answer within the time left")
        if deadline_s is None and self._stop.is_set():
            raise OutOfPatience("asked to stop while waiting for the broker")
        if deadline_s is None:
            self._stop.wait(seconds)
        else:
            time.sleep(seconds)

    @contextlib.contextmanager
    def limited(self, seconds: float) -> Iterator[None]:
        """Within it, waiting ends after `seconds`, whether or not the process is asked to stop."""
        self._deadline_s = time.monotonic() + seconds
        try:
            yield
        finally:
            self._deadline_s = None


def undisguised(call: Callable[[], Result]) -> Result:
    """`call()` of a client. Raises KafkaException.

    A client that is fenced goes on to run callbacks with that error already raised. The interpreter takes what they
    call for faulty, and says so by a SystemError, which has the error as its cause.
    """
    try:
        return call()
    except SystemError as error:
        if isinstance(error.__cause__, KafkaException):
            raise error.__cause__ from None
        raise
