"""A task's state: named numpy arrays, and nothing that is not in them survives a batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detector.core.spec import Spec


@dataclass(slots=True)
class TaskState:
    """Mutable; owned by one task."""

    arrays: dict[str, np.ndarray]

    def nbytes(self) -> int:
        """Bytes held."""
        return sum(array.nbytes for array in self.arrays.values())


def new_state(spec: Spec) -> TaskState:
    """The state before the first record."""
    raise NotImplementedError
