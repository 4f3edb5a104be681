"""Calls that must come back, into a library that does not promise it.

`rd_kafka_send_offsets_to_transaction` ignores its timeout while it looks for the group's coordinator, and after the
loss of a broker may never return (librdkafka #5456, #5511; met here by killing one in mid-commit).
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException


def within(seconds: float, what: str, call: Callable[[], object]) -> None:
    """`call()` in a thread, left behind when it takes longer: then KafkaException, neither retriable nor abortable.

    Whoever gets that must not use the client again: a call is still running in it. Costs some 100 µs.
    """
    failure: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, name=what, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{what} did not return within {seconds:.0f} s"))
    if failure:
        raise failure[0]
