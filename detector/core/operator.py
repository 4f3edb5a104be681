"""The straight line on one screen: features → score → fuse → decide → explain → learn.

Laws kept here: *cut invariance*, `step(a)` then `step(b)` equals `step(a ++ b)` bit for bit; *prequential*, decision *i*
depends on records before *i* only.
"""

from __future__ import annotations

from detector.core.batch import DecisionBatch, TransactionBatch
from detector.core.spec import Spec
from detector.core.state import TaskState


def step(spec: Spec, state: TaskState, batch: TransactionBatch) -> DecisionBatch:
    """Decide every row of `batch` and fold it into `state`, in place."""
    raise NotImplementedError
