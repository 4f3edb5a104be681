"""Decisions → messages: alerts, decisions, dead letters. Deterministic: a rerun gives equal bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from detector.codec.decode import Reject
from detector.core.batch import DecisionBatch
from detector.core.spec import Spec
from schemas.mapping import Mapping

Headers = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class OutMessage:
    """One message to produce."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


class Encoder:
    """Builds the messages of one input topic."""

    def __init__(self, mapping: Mapping, spec: Spec, topic: str, application_id: str = "fraud-detector") -> None:
        raise NotImplementedError

    def alert(
        self,
        payload: bytes,
        partition: int,
        offset: int,
        decisions: DecisionBatch,
        row: int,
        headers: Headers | None,
        *,
        key: bytes | None = None,
        event_time_ms: int | None = None,
    ) -> OutMessage:
        """The alert of `row`. Pass `event_time_ms`; it is needed where the mapping has no event_time."""
        raise NotImplementedError

    def decision(
        self,
        payload: bytes,
        partition: int,
        offset: int,
        decisions: DecisionBatch,
        row: int,
        headers: Headers | None,
        *,
        key: bytes | None = None,
        event_time_ms: int | None = None,
    ) -> OutMessage:
        """The published decision of `row`; arguments as `alert`."""
        raise NotImplementedError

    def dead_letter(
        self,
        payload: bytes | None,
        key: bytes | None,
        headers: Headers | None,
        partition: int,
        offset: int,
        reject: Reject,
    ) -> OutMessage:
        """The record untouched, with the fault in added headers."""
        raise NotImplementedError
