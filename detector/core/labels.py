"""Labels: what transactions turned out to be, days after they were decided."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(slots=True)
class LabelBatch:
    """n labels of one partition, in log order.

    `identity` uint64 (n,), the hash of the transaction's id; `is_fraud` bool (n,); `event_time_ms` int64 (n,), when the
    truth became known.
    """

    identity: NDArray[np.uint64]
    is_fraud: NDArray[np.bool_]
    event_time_ms: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.identity)


@dataclass(frozen=True, slots=True)
class LabelTally:
    """What became of labels: learned; told before (duplicate); told otherwise before (contradictory); of no transaction
    that is remembered (orphan).
    """

    learned: int = 0
    duplicate: int = 0
    contradictory: int = 0
    orphan: int = 0
