"""Records set aside: as dead letters, untouched; and the stop when most of the stream is unreadable.

Law: no record wedges the pipeline. One that the dead-letter topic would not accept goes there without its value, and
says so; it is still in the input, at the offset that the headers name.
"""

from __future__ import annotations

import re
from typing import NoReturn

import numpy as np
import structlog
from confluent_kafka import Message

from detector.codec.decode import Reject
from detector.codec.encode import Encoder, OutMessage
from detector.kafka.errors import TooManyRejects
from detector.kafka.outbox import Output
from detector.kafka.records import Records, headers_of
from detector.settings import Settings
from schemas.topics import MESSAGE_BYTES_MAX

# Of a record batch with one record: 61 bytes of batch header, and lengths, attributes and deltas of the record.
BATCH_OVERHEAD_BYTES = 128
LEFT_OUT_HEADER = "detector.reject.left_out_bytes"

log = structlog.get_logger(__name__)


class DeadLetters:
    """Builds dead letters that fit. `bytes_max`: the dead-letter topic's `max.message.bytes`."""

    def __init__(self, encoder: Encoder, topic: str, bytes_max: int = MESSAGE_BYTES_MAX) -> None:
        self._encoder, self.topic, self.bytes_max = encoder, topic, bytes_max

    def of(self, records: Records, reject: Reject) -> Output:
        """The dead letter of one reject."""
        message: Message = records.messages[reject.record]
        payload, key, headers = records.payloads[reject.record], message.key(), headers_of(message)
        offset = int(records.offset[reject.record])
        letter = self._encoder.dead_letter(payload, key, headers, records.partition, offset, reject)
        if size(letter) > self.bytes_max:
            log.warning(
                "dead letter larger than its topic accepts; published without its value",
                partition=records.partition,
                offset=offset,
                bytes=size(letter),
                bytes_max=self.bytes_max,
            )
            letter = without_value(letter, self.bytes_max)
        return Output(self.topic, letter, too_large=self.too_large)

    def too_large(self, message: Message) -> None:
        """One that the topic refused: learns the limit where the topic's settings could not be read."""
        self.bytes_max = max(1_024, min(self.bytes_max, len(message.value() or b"")) - 1)
        log.warning("dead-letter topic accepts less than expected", topic=self.topic, bytes_max=self.bytes_max)


def size(message: OutMessage) -> int:
    """Upper bound of its bytes on the broker, as `max.message.bytes` counts them, without compression."""
    headers = sum(len(name.encode()) + len(value or b"") + 10 for name, value in message.headers)
    return len(message.value or b"") + len(message.key or b"") + headers + BATCH_OVERHEAD_BYTES


def without_value(letter: OutMessage, bytes_max: int) -> OutMessage:
    """`letter` with an empty value and a header that tells how many bytes were left out.

    Where key and foreign headers alone are too large, they go as well: what we say of the record stays.
    """
    left_out = (LEFT_OUT_HEADER, str(len(letter.value or b"")).encode())
    slim = OutMessage(letter.key, b"", [*letter.headers, left_out])
    if size(slim) <= bytes_max:
        return slim
    ours = [(name, value) for name, value in letter.headers if re.match(r"__streams\.errors\.|detector\.", name)]
    return OutMessage(None, b"", [*ours, left_out])


class RejectWindow:
    """Which of the newest `rows` records were rejects; over `share_max` of a full window, the input is not ours."""

    def __init__(self, settings: Settings) -> None:
        self._share_max = settings.input.rejects_max_share
        self._bad = np.zeros(settings.input.rejects_window_rows, dtype=np.bool_)
        self._filled = 0
        self._next = 0

    def add(self, rows: int, rejects: list[Reject]) -> bool:
        """`rows` more records, those of `rejects` (indices into them) bad; True when the bad ones are too many."""
        bad = np.zeros(rows, dtype=np.bool_)
        bad[[reject.record for reject in rejects]] = True
        window = len(self._bad)
        at = (self._next + np.arange(max(0, rows - window), rows)) % window
        self._bad[at] = bad[-window:]
        self._next = (self._next + rows) % window
        self._filled = min(window, self._filled + rows)
        return self._filled == window and int(self._bad.sum()) > self._share_max * window

    def reset(self) -> None:
        """Forget: the records will come again."""
        self._filled = self._next = 0
        self._bad[:] = False

    def stop(self, rejects: list[Reject]) -> NoReturn:
        """Raises TooManyRejects; the last of `rejects` is shown as an example."""
        example = (
            f"; the last one: {rejects[-1].reason.value} {rejects[-1].field}: {rejects[-1].message}" if rejects else ""
        )
        raise TooManyRejects(
            f"expected at most {self._share_max:.0%} of {len(self._bad)} records to be rejects, found "
            f"{int(self._bad.sum())}{example}. Check input.fields and input.time_format against the topic (detector "
            "validate), or raise input.rejects_max_share. What was read is committed, the rejects as dead letters"
        )
