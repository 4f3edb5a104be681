"""The decision: every row's outcome, published where `[output] decisions` asks for it."""

from __future__ import annotations

from pydantic import Field

from schemas.alert import Verdict
from schemas.base import Message, Source


class Decision(Message):
    """One decided transaction. Record key: as an alert's. Holds no wall clock."""

    decision_id: str = Field(description="`<topic>-<partition>-<offset>` of the input.")
    transaction_id: str = Field(description="Id of the transaction, masked; the decision id where the input has none.")
    event_time: int = Field(description="Event time of the transaction, milliseconds since 1970-01-01T00:00:00Z.")
    verdict: Verdict = Field(description="Outcome.")
    risk_score: float = Field(ge=0, le=1000, description="Risk, 0 to 1000.")
    scores: dict[str, float | None] = Field(description="Each member's anomaly score, 0 to 1, high is anomalous.")
    late: bool = Field(description="True where the event time lay below the watermark.")
    source: Source = Field(description="Input record.")
    spec_fingerprint: str = Field(description="16 hex digits over all settings that change decisions.")
    model_version: int = Field(ge=0, description="Pivots of the reference profile that scored the row.")
