"""Each member's score → how surprising it is: minus the log of the share of rows before that scored as high, in nats.

A running histogram of a member's scores, logarithmic in their odds, is read as a survival function, continuous and
rising inside bins, frozen at pivots (law: cut invariance). The highest tenth is not counted but fitted: a generalised
Pareto tail (peaks over threshold: Pickands, *Statistical Inference Using Extreme Order Statistics*, 1975), by its mean
and variance (Hosking, Wallis, 1987), steadies what few rows would say. So one nat is the same share of rows with a
member whose scores crowd below an end and with one whose scores run far out. Its shape is believed as far as there are
rows to tell it, and as deep as SHAPE_NATS; beyond, the tail goes straight on, and no two scores become equal for lying
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
SHAPE_ROWS = 2_000  # so many rows in the tail weigh as much as the guess that it is exponential
SHAPE_MIN = -0.5  # of a tail that falls to its end like a triangle
SHAPE_NATS, SHAPE_KNOTS = float(np.log(100.0)), 20  # to one in a hundred of the tail, by so many straight lines
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


@inlined
def tail_kernel(tail, edge, start, scale, shape):
    """Fill `tail` float32 (BINS + 1,) from bin `edge` on: nats that begin with `start`, of a generalised Pareto tail.

    `scale` in bins. Straight between knots that lie equally far apart in nats, and on beyond the last.
    """
    step = SHAPE_NATS / SHAPE_KNOTS
    b = edge
    before = 0.0
    for knot in range(1, SHAPE_KNOTS + 1):
        nats = knot * step
        reach = scale * (nats if abs(shape) < 1e-9 else (np.exp(shape * nats) - 1.0) / shape)
        slope = step / (reach - before)
        while b <= BINS and (b - edge < reach or knot == SHAPE_KNOTS):
            tail[b] = start + (nats - step) + (b - edge - before) * slope
            b += 1
        before = reach


@kernel
def freeze_kernel(counts, tails, memory_rows):
    """Read `counts` into `tails` float32 (members, BINS + 1): surprise at the lower edge of each bin.

    Before, they halve where they are as many as they may be, `memory_rows` at most.
    """
    for m in range(len(counts)):
        total = 0
        for b in range(BINS):
            total += counts[m, b]
        if total >= min(MEMORY_ROWS, memory_rows):
            total = 0
            for b in range(BINS):
                counts[m, b] >>= 1
                total += counts[m, b]
        if total == 0:
            continue
        above = 0
        moment = square = 0.0
        edge = BINS
        while edge > 0 and above < max(TAIL_SHARE * total, TAIL_ROWS):
            edge -= 1
            middle = edge + 0.5
            above += counts[m, edge]
            moment += counts[m, edge] * middle
            square += counts[m, edge] * middle * middle
        mean = moment / above
        excess = max(mean - edge, 1.0)
        variance = max(square / above - mean * mean, TINY)
        shape = max(0.5 * (1.0 - excess * excess / variance), SHAPE_MIN) * above / (above + SHAPE_ROWS)
        start = np.log((total + 1.0) / (above + 0.5))
        tail_kernel(tails[m], edge, start, excess * (1.0 - shape), shape)
        surprise = start
        for b in range(edge - 1, -1, -1):
            if counts[m, b] > 0:  # few bins hold anything, and a logarithm is what costs here
                above += counts[m, b]
                surprise = np.log((total + 1.0) / (above + 0.5))
            tails[m, b] = surprise
