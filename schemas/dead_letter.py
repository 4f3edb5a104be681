"""Dead letters: records set aside. Key, value and headers are the input's own bytes; the fault is told in headers.

Header names follow KIP-1034 (Kafka Streams dead letter queue), so that tools made for it read ours.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from schemas.base import Message


class RejectReason(StrEnum):
    """Why a record was set aside. The codes are stored and exported as a metric label: they never change meaning."""

    EMPTY = "empty"
    TOO_LARGE = "too_large"
    BAD_UTF8 = "bad_utf8"
    TOO_DEEP = "too_deep"
    NOT_JSON = "not_json"
    NOT_OBJECT = "not_object"
    REPEATED_FIELD = "repeated_field"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    NOT_FINITE = "not_finite"
    OUT_OF_RANGE = "out_of_range"
    TOO_LONG = "too_long"
    BAD_TIME = "bad_time"
    TIME_AHEAD = "time_ahead"


REASON_HELP = {
    RejectReason.EMPTY: "The value, or the text of a field, is empty. (A null value is a tombstone, not a reject.)",
    RejectReason.TOO_LARGE: "The value has more bytes than bounds.payload_bytes_max.",
    RejectReason.BAD_UTF8: "The value is not UTF-8.",
    RejectReason.TOO_DEEP: "Objects and lists are nested deeper than 64.",
    RejectReason.NOT_JSON: "The value is not JSON (RFC 8259; NaN and Infinity are not JSON).",
    RejectReason.NOT_OBJECT: "The value is JSON, but no object.",
    RejectReason.REPEATED_FIELD: "A field is given more than once, and one of the values has the wrong type.",
    RejectReason.MISSING_FIELD: "A required field is not there.",
    RejectReason.WRONG_TYPE: "A field has another JSON type than expected.",
    RejectReason.NOT_FINITE: "A number is not finite, or too large for a 64-bit float.",
    RejectReason.OUT_OF_RANGE: "A number lies outside its bounds.",
    RejectReason.TOO_LONG: "A text is longer than bounds.id_characters_max.",
    RejectReason.BAD_TIME: "The event time cannot be read as declared, or lies outside its bounds (wrong unit?).",
    RejectReason.TIME_AHEAD: "The event time lies further ahead of the record's timestamp than event_time_ahead_max.",
}

EXCEPTION_HEADER = "__streams.errors.exception"
MESSAGE_HEADER = "__streams.errors.message"
TOPIC_HEADER = "__streams.errors.topic"
PARTITION_HEADER = "__streams.errors.partition"
OFFSET_HEADER = "__streams.errors.offset"
REASON_HEADER = "detector.reject.reason"
FIELD_HEADER = "detector.reject.field"


class DeadLetter(Message):
    """What the added headers say, read back by `DeadLetter.from_headers`. The value is the input's own bytes."""

    exception: str = Field(description="Name of the error class.")
    message: str = Field(description="What was expected and what was found; never shows an input value.")
    topic: str = Field(description="Input topic.")
    partition: int = Field(ge=0, description="Partition of the input topic.")
    offset: int = Field(ge=0, description="Offset in the partition.")
    reason: RejectReason = Field(description="Reject reason code.")
    field: str = Field(description="Path of the field at fault, empty where it is the record as a whole.")

    @classmethod
    def from_headers(cls, headers: list[tuple[str, bytes | None]]) -> DeadLetter:
        """Reads the headers that we add; the last of each name counts, as in Kafka's `lastHeader`.

        Raises KeyError for a header that is not there, pydantic.ValidationError for one that cannot be read.
        """
        text = {name: (value or b"").decode("utf-8", "replace") for name, value in headers}
        return cls(
            exception=text[EXCEPTION_HEADER],
            message=text[MESSAGE_HEADER],
            topic=text[TOPIC_HEADER],
            partition=int(text[PARTITION_HEADER]),
            offset=int(text[OFFSET_HEADER]),
            reason=RejectReason(text[REASON_HEADER]),
            field=text[FIELD_HEADER],
        )
