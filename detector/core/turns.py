"""When members pivot: after 64 learned rows, then after twice as many each time, up to a limit.

Members that follow this rule with equal limits pivot at the same rows, so that a segment in which nothing that scores
changes is as long as it can be.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FIRST_WINDOW_ROWS = 64
WINDOW, FILLED, PIVOTS = range(3)  # positions in a member's counter


def new_counter(size: int, limit: int) -> NDArray[np.int64]:
    """A counter int64 (size,) before the first row."""
    counter = np.zeros(size, np.int64)
    counter[WINDOW] = min(FIRST_WINDOW_ROWS, limit)
    return counter


class Turning:
    """What members share that follow this rule and keep such a counter among their arrays."""

    def rows_to_pivot(self, arrays: dict[str, NDArray[Any]]) -> int:
        """Rows that may be learned before the pivot."""
        return int(arrays["counter"][WINDOW] - arrays["counter"][FILLED])

    def pivots(self, arrays: dict[str, NDArray[Any]]) -> int:
        """Pivots so far: the version of what scores."""
        return int(arrays["counter"][PIVOTS])


def turn(counter: NDArray[np.int64], limit: int) -> None:
    """A window ends, the next begins."""
    counter[FILLED] = 0
    counter[PIVOTS] += 1
    counter[WINDOW] = min(2 * counter[WINDOW], limit)
