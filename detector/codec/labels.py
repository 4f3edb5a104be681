"""Label payloads → columns."""

from __future__ import annotations

from dataclasses import dataclass

from detector.codec.decode import Reject
from detector.core.labels import LabelBatch


@dataclass(slots=True)
class DecodedLabels:
    """Columns of the accepted labels, in order, and the rejects in the order of the payloads.

    A null value (a tombstone) is neither.
    """

    labels: LabelBatch
    rejects: list[Reject]
