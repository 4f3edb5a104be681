"""What models made elsewhere share: a version, scores of any range in 0–1, contributions by leaving one feature out."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import metadata

import numpy as np
from numpy.typing import NDArray

from detector.core import credit

Floats = NDArray[np.float64]
Scorer = Callable[[Floats], Floats]

SCORE_WIDTHS_MAX = 1e9


@cache
def package_version(module: str) -> str:
    """Of the distribution that a top-level module comes from, whose name may be another; empty where there is none."""
    names = metadata.packages_distributions().get(module)
    return metadata.version(names[0]) if names else ""


def spread(known: Floats) -> tuple[float, float]:
    """(median, width) of scores (n,): the interquartile range, or a wider one where that is nothing."""
    known = known[np.isfinite(known)]
    if not len(known):
        return 0.0, 1.0
    center = float(np.median(known))
    spreads = [float(np.subtract(*np.quantile(known, (1.0 - tail, tail)))) for tail in (0.25, 0.1, 0.0)]
    return center, next((width for width in spreads if width > 1e-9 * max(1.0, abs(center))), 1.0)


def in_unit(raw: Floats, center: float, width: float) -> Floats:
    """Scores (n,) of any range in 0–1, in their order; what is no number lies in the middle."""
    u = np.clip((np.nan_to_num(raw, nan=center) - center) / width, -SCORE_WIDTHS_MAX, SCORE_WIDTHS_MAX)
    score: Floats = 0.5 + 0.5 * u / (1.0 + np.abs(u))
    return score


def left_out(scorer: Scorer, row: Floats, usual: Floats) -> tuple[Floats, float]:
    """(contributions (m,), base) of one row (m,): how its score falls where a feature takes its value in `usual` (m,).

    In proportion, so that base and contributions add up to the score.
    """
    without = np.tile(row, (len(row), 1))
    np.fill_diagonal(without, usual)
    scores = scorer(np.concatenate([row[None, :], usual[None, :], without]))
    score, base = float(scores[0]), float(scores[1])
    fall = score - scores[2:]
    if abs(fall.sum()) <= 1e-9 * max(1.0, float(np.abs(fall).sum())):
        fall = np.nan_to_num(np.abs(row - usual)) + 1e-12
    return credit.scaled_to(fall, score - base), base
