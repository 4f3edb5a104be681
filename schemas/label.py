"""The label: what a transaction turned out to be, some days later."""

from __future__ import annotations

from pydantic import Field

from schemas.base import EventTimeMs, Id, Message


class Label(Message):
    """The truth about one transaction. Record key: `card_id` where known, so that it meets its task's partition."""

    transaction_id: Id = Field(description="Transaction that is labelled.")
    event_time: EventTimeMs = Field(
        description="When the truth became known, milliseconds since 1970-01-01T00:00:00Z. Minus the transaction's "
        "event time it is the label delay."
    )
    is_fraud: bool = Field(description="True where the payment was fraudulent.")
    card_id: Id | None = Field(default=None, description="Card of the transaction.")
    scenario: Id | None = Field(default=None, description="Kind of fraud, where the labeller knows it.")
