"""When members pivot: after 64 learned rows, then after twice as many each time, up to a limit.

Members that follow this rule with equal limits pivot at the same rows, so that a segment in which nothing that scores
changes is as long as it can be. Rows that the gate holds back are not learned: how full a window is is looked at when
as many rows have passed as it may hold, and then whenever as many more as it lacked; nearly full is enough, for the
last few rows would each cost a segment of their own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FIRST_WINDOW_ROWS = 64
FULL_SHARE = 15 / 16
WINDOW, FILLED, PIVOTS, PASSED, LOOK = range(5)  # positions in a member's counter ...
OWN = 5  # ... where its own begin


def new_counter(size: int, limit: int) -> NDArray[np.int64]:
    """A counter int64 (size,) before the first row."""
    counter = np.zeros(size, np.int64)
    counter[WINDOW] = counter[LOOK] = min(FIRST_WINDOW_ROWS, limit)
    return counter


class Turning:
    """What members share that follow this rule and keep such a counter among their arrays."""

    def rows_to_pivot(self, arrays: dict[str, NDArray[Any]]) -> int:
        """Rows that may be learned before the pivot."""
        counter = arrays["counter"]
        return max(int(counter[LOOK] - counter[PASSED]), 0)

    def restart(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Nothing that goes by the age of the stream."""

    def pivots(self, arrays: dict[str, NDArray[Any]]) -> int:
        """Pivots so far: the version of what scores."""
        return int(arrays["counter"][PIVOTS])


def fill(counter: NDArray[np.int64], passed: int, learned: int) -> None:
    """So many rows have passed, of which so many were learned."""
    counter[PASSED] += passed
    counter[FILLED] += learned
    if counter[PASSED] >= counter[LOOK] and counter[FILLED] < FULL_SHARE * counter[WINDOW]:
        counter[LOOK] = counter[PASSED] + counter[WINDOW] - counter[FILLED]


def take(counter: NDArray[np.int64], taken: NDArray[np.bool_]) -> None:
    """The rows have passed, and those `taken` (n,) were learned."""
    fill(counter, len(taken), int(np.count_nonzero(taken)))


def join(counter: NDArray[np.int64], other: NDArray[np.int64]) -> None:
    """What passed and was learned in another stream since the same pivot, too."""
    fill(counter, int(other[PASSED]), int(other[FILLED]))


def turn(counter: NDArray[np.int64], limit: int) -> None:
    """A window ends, the next begins."""
    counter[FILLED] = counter[PASSED] = 0
    counter[PIVOTS] += 1
    counter[WINDOW] = counter[LOOK] = min(2 * counter[WINDOW], limit)
