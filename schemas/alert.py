"""The alert: a transaction that a person should look at, with the reasons to check.

Law: an alert is a function of the input log and the spec alone. It holds no wall clock, so a rerun gives equal bytes.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.base import Message, Source

AlertVerdict = Literal["review", "alert"]
Verdict = Literal["pass", "review", "alert"]


class Reason(Message):
    """One thing that stood out, with the numbers that a person can check."""

    code: str = Field(description="Stable code of the kind of reason, for machines.")
    text: str = Field(description="The reason as one English sentence, numbers included.")
    feature: str = Field(description="Feature it rests on, as named in the feature grammar.")
    value: float | None = Field(description="The feature's value, in the feature's own unit.")
    baseline: float | None = Field(
        default=None, description="The entity's own mean or maximum, which it is compared with."
    )
    rarity: float | None = Field(
        default=None, ge=0, le=1, description="Share of earlier transactions at least this extreme, 0 to 1."
    )


class Subject(Message):
    """Who and what the transaction was about; every text is masked where it looks like a card number."""

    card_id: str | None = Field(default=None, description="Card, masked.")
    customer_id: str | None = Field(default=None, description="Customer, masked.")
    merchant_id: str | None = Field(default=None, description="Merchant, masked.")
    terminal_id: str | None = Field(default=None, description="Terminal, masked.")
    device_id: str | None = Field(default=None, description="Device, masked.")
    ip: str | None = Field(default=None, description="Address of the payer's device, masked.")
    country: str | None = Field(default=None, description="Country, masked.")
    mcc: str | None = Field(default=None, description="Merchant category code, masked.")
    channel: str | None = Field(default=None, description="Channel, masked.")


class Alert(Subject):
    """One alerted transaction. Record key: the masked card id, else a hash of the input's key."""

    alert_id: str = Field(
        description="`<topic>-<partition>-<offset>` of the input: equal in every rerun, so readers can deduplicate."
    )
    transaction_id: str = Field(description="Id of the transaction, masked; the alert id where the input has none.")
    event_time: int = Field(description="Event time of the transaction, milliseconds since 1970-01-01T00:00:00Z.")
    verdict: AlertVerdict = Field(description="`alert`, within the budget; `review` for the less pressing.")
    risk_score: float = Field(ge=0, le=1000, description="Risk, 0 to 1000; the quantile of the anomaly score.")
    scores: dict[str, float | None] = Field(description="Each member's anomaly score, 0 to 1, high is anomalous.")
    reasons: list[Reason] = Field(description="Reasons, the strongest first.")
    amount: float | None = Field(default=None, description="Amount in units of `currency`.")
    currency: str | None = Field(default=None, description="Currency as in the input.")
    late: bool = Field(description="True where the event time lay below the watermark.")
    source: Source = Field(description="Input record.")
    spec_fingerprint: str = Field(description="16 hex digits over all settings that change decisions.")
    model_version: int = Field(ge=0, description="Pivots of the reference profile that scored the row.")
