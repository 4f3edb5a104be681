"""A time-biased sample of the rows that were learned, from which models are built and calibrated.

Until MEMORY_ROWS rows were learned every one of them is as likely to be in the sample as any other (Vitter, *Random
Sampling with a Reservoir*, 1985); from then on a row's chance fades with its age (Aggarwal, *On Biased Reservoir
Sampling in the Presence of Stream Evolution*, VLDB 2006). The draws are hashes of a row's number and the seed, so the
sample is a pure fold of the rows learned (law: cut invariance).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.core.chance import mixed
from detector.core.jit import kernel

ROWS = 2_048
MEMORY_ROWS = 1 << 17
LARGEST = 1e30  # what values are held to: sums and differences of them stay finite in 32 bits


def draws(seed: int, first: int, count: int) -> NDArray[np.float64]:
    """Numbers in [0, 1) for the counts from `first` on."""
    state = np.arange(first, first + count, dtype=np.uint64)
    state += np.uint64((seed * 0xD1342543DE82EF95 + 0x632BE59BD9B4E019) & 0xFFFFFFFFFFFFFFFF)
    return mixed(state) * 2.0**-53


def learn(
    features: NDArray[np.float64],
    columns: NDArray[np.int64],
    taken: NDArray[np.bool_],
    seed: int,
    sample: NDArray[np.float32],
    sampled: NDArray[np.int64],
    memory_rows: NDArray[np.int64] | None = None,
) -> None:
    """Offer the rows taken to `sample` float32 (ROWS, m); `sampled` int64 (1,): rows offered so far.

    `memory_rows` int64 (n,): how many rows it may be a sample of, if less than MEMORY_ROWS.
    """
    if memory_rows is None:
        memory_rows = np.full(len(taken), MEMORY_ROWS)
    numbers = draws(seed, int(sampled[0]), int(np.count_nonzero(taken)))
    learn_kernel(features, columns, taken, memory_rows, numbers, sample, sampled)


@kernel
def learn_kernel(features, columns, taken, memory_rows, numbers, sample, sampled):
    """The same; `numbers` float64 holds a draw for each row taken."""
    size = len(sample)
    row = 0
    for i in range(len(taken)):
        if not taken[i]:
            continue
        count = sampled[0]
        sampled[0] = count + 1
        draw = numbers[row] * min(count + 1, max(min(MEMORY_ROWS, memory_rows[i]), size))
        row += 1
        slot = count if count < size else int(draw)
        if slot >= size:
            continue
        for m in range(len(columns)):
            value = features[i, columns[m]]
            sample[slot, m] = min(max(value, -LARGEST), LARGEST) if value == value else np.nan


def merge(
    one: NDArray[np.float32], one_rows: int, other: NDArray[np.float32], other_rows: int, seed: int
) -> tuple[NDArray[np.float32], int]:
    """The sample of two streams that were offered so many rows each, and how many they were together.

    A slot takes its row from either in proportion to the rows that the stream has seen, at most MEMORY_ROWS of them;
    while both samples hold whole streams that fit, they are set one after the other.
    """
    total, size = one_rows + other_rows, len(one)
    if total <= size:
        merged = one.copy()
        merged[one_rows:total] = other[:other_rows]
        return merged, total
    held = min(one_rows, size), min(other_rows, size)
    weight = min(one_rows, MEMORY_ROWS), min(other_rows, MEMORY_ROWS)
    number = draws(seed, total, 2 * size).reshape(2, size)
    first = number[0] * (weight[0] + weight[1]) < weight[0]
    order = [np.argsort(number[1][:kept]) for kept in held]
    take = [np.resize(chosen, size) if len(chosen) else np.zeros(size, np.int64) for chosen in order]
    rank = np.where(first, np.cumsum(first) - 1, np.cumsum(~first) - 1)
    return np.where(first[:, None], one[take[0][rank]], other[take[1][rank]]), total
