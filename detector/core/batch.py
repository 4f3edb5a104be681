"""What goes into `step` and what comes out: plain columns, one array a column, row *i* of each the same transaction."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Verdict(IntEnum):
    """A decision's outcome; the numbers are stored, so they never change."""

    PASS = 0
    REVIEW = 1
    ALERT = 2


@dataclass(slots=True)
class TransactionBatch:
    """Decoded transactions of one task, in log order.

    Shapes for n rows: `offset` int64 (n,), position in the log; `event_time_ms` int64 (n,), since the Unix epoch, UTC;
    `amount` float64 (n,), NaN where absent; `key` uint64 (len(spec.keys), n), 64-bit hashes of each role's value, 0
    where absent; `latitude`, `longitude` float64 (n,), degrees, NaN where absent; `numeric` float64
    (len(spec.numeric), n), NaN where absent; `identity` uint64 (n,), hashes of what labels call the transactions, (0,)
    where the spec has no labels.
    """

    offset: NDArray[np.int64]
    event_time_ms: NDArray[np.int64]
    amount: NDArray[np.float64]
    key: NDArray[np.uint64]
    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]
    numeric: NDArray[np.float64]
    identity: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))

    def __len__(self) -> int:
        return len(self.offset)

    def rows(self, start: int, stop: int) -> TransactionBatch:
        """Rows `start:stop` as views."""
        return TransactionBatch(
            self.offset[start:stop],
            self.event_time_ms[start:stop],
            self.amount[start:stop],
            np.ascontiguousarray(self.key[:, start:stop]),
            self.latitude[start:stop],
            self.longitude[start:stop],
            np.ascontiguousarray(self.numeric[:, start:stop]),
            self.identity[start:stop],
        )


@dataclass(frozen=True, slots=True)
class ReasonEvidence:
    """One reason of one alerted row, as numbers: what stood out, against what, and how rare that is.

    `feature` indexes `spec.features`; `value` is the feature's value; `baseline` the entity's own mean or maximum where
    the feature compares with one, else NaN; `rarity` the share of earlier transactions at least this extreme;
    `typical_low`, `typical_high` the 5 % and 95 % quantiles of the feature so far; `low` whether the value is odd for
    being low; `rows` how many transactions the entity's own mean or maximum rests on, or its rate of frauds on how many
    frauds, 0 where no feature counts them.
    """

    feature: int
    value: float
    baseline: float
    rarity: float
    typical_low: float
    typical_high: float
    low: bool = False
    rows: int = 0


@dataclass(slots=True)
class DecisionBatch:
    """What `step` decided, row by row.

    `score` float64 (members + trained heads, n), 0–1, high = anomalous; `risk` float64 (n,), 0–1000; `verdict` int8
    (n,), a `Verdict`; `late` bool (n,), event time below the watermark; `features` float64 (n, len(spec.features)), NaN
    where missing; `reasons` maps each alerted row's index to its ranked evidence; `model_version` (n,) int64, pivots of
    the reference profile that scored the row.
    """

    score: NDArray[np.float64]
    risk: NDArray[np.float64]
    verdict: NDArray[np.int8]
    late: NDArray[np.bool_]
    features: NDArray[np.float64]
    reasons: dict[int, tuple[ReasonEvidence, ...]]
    model_version: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.risk)
