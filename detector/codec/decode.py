"""Payloads → columns. msgspec accepts, pydantic explains rejects; both judge by the same mapping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.core.batch import TransactionBatch
from detector.core.spec import Spec
from schemas.dead_letter import RejectReason
from schemas.mapping import Mapping


@dataclass(frozen=True, slots=True)
class Reject:
    """One record set aside: index into the payloads, reason code, path of the field at fault, what to tell people."""

    record: int
    reason: RejectReason
    field: str
    message: str


@dataclass(slots=True)
class Decoded:
    """Columns of the accepted records; `record` int64 (rows,) is each row's index into the payloads."""

    batch: TransactionBatch
    record: NDArray[np.int64]
    rejects: list[Reject]
    tombstones: int


class Decoder:
    """Decodes payloads of one input topic."""

    def __init__(self, mapping: Mapping, spec: Spec) -> None:
        raise NotImplementedError

    def decode(
        self,
        payloads: Sequence[bytes | None],
        offset: NDArray[np.int64],
        record_time_ms: NDArray[np.int64],
    ) -> Decoded:
        """Accepted rows as columns, in order; the others as rejects; null values are counted as tombstones."""
        raise NotImplementedError
