"""Numbers that stand for chance, drawn from what the log holds: the same for the same record and seed, for ever."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def mixed(state: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Whole numbers below 2⁵³ from 64-bit states (n,): splitmix64 (Steele, Lea, Flood, 2014)."""
    z = state * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)).astype(np.float64)
