"""Each member's score → how surprising it is: minus the log of the share of rows before that scored as high, in nats.

A running histogram of a member's scores, logarithmic in their odds, is read as a survival function, continuous and
rising inside bins, frozen at pivots (law: cut invariance). The highest tenth is not counted but fitted: an exponential
tail (peaks over threshold: Pickands, 1975) steadies what few rows would say, and no two scores become equal for lying
beyond all others. Counts halve once in a while, so that the scale follows the stream.

While the stream is young, scores are those of models that change a lot: the histogram is then made anew at each pivot
of the reservoir's rows, as the members score them now.
"""

from __future__ import annotations

import numpy as np

from detector.core.jit import inlined, kernel

BINS = 4_096
BINS_AN_OCTAVE = 128.0  # of the odds, from 2^-8 to 2^24
LOWEST_OCTAVE = -8.0
TAIL_SHARE, TAIL_ROWS = 0.1, 32
MEMORY_ROWS = 1 << 18
TINY = 2.0**-53


@inlined
def place_kernel(score):
    """Where a score in 0–1 lies on the grid: bins and a fraction of one."""
    octaves = np.log2((score + TINY) / (1.0 - score + TINY))
    return min(max((octaves - LOWEST_OCTAVE) * BINS_AN_OCTAVE, 0.0), BINS - 1e-3)


@kernel
def read_kernel(score, tails, place, surprise):
    """For scores (members, n): `place` int32 (members, n), their bins, and `surprise` float64 (members, n)."""
    for m in range(len(score)):
        tail = tails[m]
        for i in range(score.shape[1]):
            exact = place_kernel(score[m, i])
            at = int(exact)
            place[m, i] = at
            surprise[m, i] = tail[at] + (tail[at + 1] - tail[at]) * (exact - at)


@kernel
def count_kernel(place, taken, counts):
    """Count the rows taken into `counts` int32 (members, BINS)."""
    for m in range(len(counts)):
        own = counts[m]
        for i in range(len(taken)):
            own[place[m, i]] += taken[i]


@kernel
def freeze_kernel(counts, tails):
    """Read `counts` into `tails` float32 (members, BINS + 1): surprise at the lower edge of each bin."""
    for m in range(len(counts)):
        total = 0
        for b in range(BINS):
            total += counts[m, b]
        if total >= MEMORY_ROWS:
            total = 0
            for b in range(BINS):
                counts[m, b] >>= 1
                total += counts[m, b]
        if total == 0:
            continue
        above = 0
        moment = 0.0
        edge = BINS
        while edge > 0 and above < max(TAIL_SHARE * total, TAIL_ROWS):
            edge -= 1
            above += counts[m, edge]
            moment += counts[m, edge] * (edge + 0.5)
        excess = max(moment / above - edge, 1.0)
        start = np.log((total + 1.0) / (above + 0.5))
        for b in range(edge, BINS + 1):
            tails[m, b] = start + (b - edge) / excess
        surprise = start
        for b in range(edge - 1, -1, -1):
            if counts[m, b] > 0:  # few bins hold anything, and a logarithm is what costs here
                above += counts[m, b]
                surprise = np.log((total + 1.0) / (above + 0.5))
            tails[m, b] = surprise
