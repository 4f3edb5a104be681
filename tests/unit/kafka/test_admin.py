"""Waiting for an input topic, without a broker; see `tests/integration/test_topics.py` for the rest."""

from __future__ import annotations

import threading
import time

import pytest
from confluent_kafka.admin import AdminClient
from structlog.testing import capture_logs

from detector.kafka.admin import REQUEST_TIMEOUT_S, wait_for_input
from detector.kafka.errors import OutOfPatience
from detector.kafka.patience import AWAY, Patience
from detector.observe.health import Health

NOBODY = "127.0.0.1:1"


def test_a_broker_that_is_not_there_is_told_of_long_before_a_slow_one_is_given_up() -> None:
    stop = threading.Event()
    stop.set()  # so that the first failure is the last
    patience = Patience(stop, Health(), NOBODY)
    admin = AdminClient({"bootstrap.servers": NOBODY, "log_level": 0, "error_cb": patience.heard})
    began_s = time.monotonic()
    with capture_logs() as logs, pytest.raises(OutOfPatience):
        wait_for_input(admin, "payments", patience)
    assert time.monotonic() - began_s < REQUEST_TIMEOUT_S / 2
    [line] = logs
    assert (line["event"], line["servers"]) == (AWAY, NOBODY)
    assert "Connection refused" in line["heard"]
