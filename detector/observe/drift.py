"""Whether the members' scores have changed their level: ADWIN (Bifet, Gavaldà, SIAM 2007) over their running means.

Law: it is fed after a commit alone, reports, and never acts: nothing that it knows is part of a task's state. It starts
anew with the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK_ROWS = 64  # rows to a mean that ADWIN is fed: it then costs nothing a transaction
DELTA = 1e-4  # chance that a change is seen where there is none, a look; river's 0.002 is for streams that are awaited


def adwin() -> Any:
    """The compiled half of `river.drift.ADWIN`: the package around it takes seconds to import, this a moment."""
    from river._river_rust.drift import AdaptiveWindowing

    return AdaptiveWindowing(delta=DELTA, clock=32, max_buckets=5, min_window_length=5, grace_period=10)


class ScoreDrift:
    """One window a member, over all tasks of the process."""

    def __init__(self, members: Sequence[str]) -> None:
        self.members = tuple(members)
        self._windows = [adwin() for _ in members]
        self._rest = np.empty((len(members), 0))

    def update(self, score: NDArray[np.float64]) -> dict[str, int]:
        """Take in the scores (members, n) of committed rows; how often each member's level was found changed.

        Rows before there is a model to score by, all zero, say nothing.
        """
        known = score.any(axis=0)
        rows = np.concatenate([self._rest, score if known.all() else score[:, known]], axis=1)
        chunks = rows.shape[1] // CHUNK_ROWS
        self._rest = rows[:, chunks * CHUNK_ROWS :].copy()
        means = rows[:, : chunks * CHUNK_ROWS].reshape(len(self.members), chunks, CHUNK_ROWS).mean(axis=2)
        return {
            name: sum(window.update(mean) for mean in own.tolist())
            for name, window, own in zip(self.members, self._windows, means, strict=True)
        }

    def means(self) -> dict[str, float]:
        """The mean score of each member since its last change; none before the first chunk is full."""
        widths = {
            name: (window.get_total(), window.get_width())
            for name, window in zip(self.members, self._windows, strict=True)
        }
        return {name: total / width for name, (total, width) in widths.items() if width > 0}
