"""A stretch of one partition, read in slices through an assign()-only consumer of its own.

Law: reading ends at position ≥ `stop`, never at "the last record": control records take offsets, and a stretch may end
with them.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from detector.kafka.errors import HistoryLost, Stop
from detector.kafka.patience import Patience

SLICE_ROWS = 4_096
# Short, for the main loop must go on polling the group meanwhile.
SLICE_S = 0.02


class LogReader:
    """Reads stretches, each through a consumer of its own: one that changes topics waits a second for its metadata."""

    def __init__(self, config: dict[str, Any], patience: Patience) -> None:
        self._config, self._patience = config, patience

    def read(self, topic: str, partition: int, start: int, stop: int) -> Generator[list[Message], None, None]:
        """Messages with offsets in [start, stop), in slices that may be empty, each after at most `SLICE_S`.

        Only what is readable as `read_committed`. Raises HistoryLost when `start` has fallen off the log. Close the
        generator where it is not read to its end.
        """
        if start >= stop:
            return
        consumer = Consumer(self._config)
        try:
            consumer.assign([TopicPartition(topic, partition, start)])
            position = start
            while position < stop:
                messages = consumer.consume(SLICE_ROWS, SLICE_S)
                if any(map(Message.error, messages)):
                    position = max(position, *(self._event(message) for message in messages))
                    messages = [message for message in messages if message.error() is None]
                if messages:
                    self._patience.succeeded()
                    position = max(position, _next(messages[-1]))
                    if position > stop:
                        messages = [message for message in messages if _next(message) <= stop]
                yield messages
        finally:
            consumer.close()

    def _event(self, message: Message) -> int:
        """The position that an event tells of; −1 for none. Raises HistoryLost, and KafkaException where fatal."""
        error = message.error()
        if error is None:
            return _next(message)
        if error.code() == KafkaError._PARTITION_EOF:
            return message.offset() or 0
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise HistoryLost(
                f"expected {message.topic()} partition {message.partition()} to hold its records from offset "
                f"{message.offset()} on, found that it does not ({error.str()}): retention took them during the restore"
            )
        if error.fatal():
            raise KafkaException(error)
        self._patience.failed("restore", error)
        return -1


def readable(messages: list[Message], doing: str, patience: Patience) -> list[Message]:
    """Those that hold a record. Raises HistoryLost where the log no longer does, Stop where the client cannot go on."""
    if not any(map(Message.error, messages)):
        return messages
    for message in messages:
        error = message.error()
        if error is None:
            continue
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise HistoryLost(
                f"expected {message.topic()} partition {message.partition()} to hold offset {message.offset()}, "
                f"found that it does not ({error.str()}): records were deleted before they were read, or the whole "
                "topic was, and made anew. Raise retention.ms of the topic, then start with --rebuild to go on with "
                "what is left"
            )
        if error.fatal():
            raise Stop(f"the consumer cannot go on: {error.name()}: {error.str()}")
        patience.failed(doing, error)
    return [message for message in messages if message.error() is None]


def _next(message: Message) -> int:
    return (message.offset() or 0) + 1
