"""Waiting for a broker, and calls that never come back."""

from __future__ import annotations

import threading
import time

import pytest
from confluent_kafka import KafkaError, KafkaException
from structlog.testing import capture_logs

from detector.kafka.bounded import within
from detector.kafka.errors import OutOfPatience
from detector.kafka.patience import AWAY, BACK, BROKER, Patience
from detector.observe.health import Health


def away(retriable: bool = True) -> KafkaException:
    return KafkaException(KafkaError(KafkaError._TRANSPORT, "no broker", retriable=retriable))


def declared() -> Health:
    health = Health()
    health.declare(BROKER)
    return health


def failing(times: int) -> list[object]:
    """A script of outcomes: errors, then 7."""
    return [*[away()] * times, 7]


def play(script: list[object]) -> object:
    outcome = script.pop(0)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def test_it_tries_on_and_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detector.kafka.patience.RETRY_WAIT_S", 0.0)
    health, script = declared(), failing(50)
    patience = Patience(threading.Event(), health, "broker:9092")
    monkeypatch.setattr(patience, "wait", lambda: None)
    with capture_logs() as logs:
        assert patience.insist("look", lambda: play(script)) == 7
    assert [line["event"] for line in logs] == [AWAY, BACK]
    assert health.ready()
    with capture_logs() as logs:
        patience.failed("look", "again, at once")
        patience.succeeded()
    assert logs == []


def test_it_says_which_servers_and_what_the_client_heard_of_them() -> None:
    patience = Patience(threading.Event(), declared(), "broker:9092")
    with capture_logs() as logs:
        patience.heard(KafkaError(KafkaError._TRANSPORT, "broker:9092: Connection refused"))
        assert not patience.away
        patience.heard(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
        assert patience.away
    [line] = logs
    assert (line["servers"], line["heard"]) == ("broker:9092", "broker:9092: Connection refused")


def test_while_away_it_is_not_ready() -> None:
    health = declared()
    patience = Patience(threading.Event(), health, "broker:9092")
    patience.failed("look", "no broker")
    assert patience.away
    assert health.reasons() == {"broker": "look: no broker"}


def test_an_error_that_will_not_pass_is_raised_at_once() -> None:
    with pytest.raises(KafkaException, match="no broker"):
        Patience(threading.Event(), Health(), "broker:9092").insist("look", lambda: play([away(retriable=False)]))


def test_asked_to_stop_it_gives_up() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(OutOfPatience, match="asked to stop"):
        Patience(stop, Health(), "broker:9092").insist("look", lambda: play([away()]))


def test_within_a_limit_it_tries_on_though_asked_to_stop() -> None:
    stop = threading.Event()
    stop.set()
    patience, script = Patience(stop, Health(), "broker:9092"), failing(2)
    with patience.limited(30):
        assert patience.insist("look", lambda: play(script)) == 7
    began_s = time.monotonic()
    with patience.limited(0.3), pytest.raises(OutOfPatience, match="time left"):
        patience.insist("look", lambda: play(failing(1)[:1] * 100))
    assert time.monotonic() - began_s < 10


def test_a_call_that_hangs_is_left_behind() -> None:
    hang = threading.Event()
    with pytest.raises(KafkaException, match="did not return") as failure:
        within(0.05, "hang", hang.wait)
    error = failure.value.args[0]
    assert not error.retriable()
    assert not error.txn_requires_abort()
    hang.set()


def test_a_call_that_fails_or_returns_does_so_here() -> None:
    within(5, "return", lambda: None)
    with pytest.raises(KafkaException, match="no broker"):
        within(5, "fail", lambda: play([away()]))
