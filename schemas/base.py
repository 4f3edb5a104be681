"""What all messages share: strict, frozen, documented field by field."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# Bounds of the canonical form. Everything outside goes to the dead letters; `schemas.mapping.Bounds` can widen them.
ID_CHARACTERS_MAX = 256
AMOUNT_MAX = 1e12
NUMERIC_ABS_MAX = 1e15
EVENT_TIME_MIN_MS = 946_684_800_000  # 2000-01-01T00:00:00Z
EVENT_TIME_MAX_MS = 4_102_444_800_000  # 2100-01-01T00:00:00Z
PAYLOAD_BYTES_MAX = 262_144
DEPTH_MAX = 64

Id = Annotated[str, Field(min_length=1, max_length=ID_CHARACTERS_MAX)]
EventTimeMs = Annotated[int, Field(ge=EVENT_TIME_MIN_MS, lt=EVENT_TIME_MAX_MS)]
Amount = Annotated[float, Field(ge=0, le=AMOUNT_MAX)]
Numeric = Annotated[float, Field(ge=-NUMERIC_ABS_MAX, le=NUMERIC_ABS_MAX)]


class Message(BaseModel):
    """Strict (no string becomes a number), frozen, finite; unknown fields are refused."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class Source(Message):
    """The input record that a message speaks of."""

    topic: str = Field(description="Input topic.")
    partition: int = Field(ge=0, description="Partition of the input topic.")
    offset: int = Field(ge=0, description="Offset in the partition.")
