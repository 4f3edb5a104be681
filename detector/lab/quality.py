"""How well scores rank the frauds: exact figures over all rows, ties included.

Both figures equal those of scikit-learn. Average precision is the step-wise sum, not the trapezoid: interpolating
between points of a precision-recall curve flatters (Davis, Goadrich, ICML 2006).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def counts_from_above(fraud: Bools, score: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(frauds, rows) with at least each distinct score, from the highest score down. `fraud`, `score` (n,), no NaN.

    Rows of equal score are taken together, for no threshold tells them apart.
    """
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    last = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    del ranked
    return np.cumsum(fraud[order], dtype=np.int64)[last], last + 1


def roc_auc(fraud: Bools, score: Floats) -> float:
    """The share of pairs, a fraud and a genuine row, in which the fraud scores higher; ties count half.

    NaN where there is no pair.
    """
    frauds_all, genuine_all = int(fraud.sum()), int((~fraud).sum())
    if not frauds_all or not genuine_all:
        return math.nan
    frauds, rows = counts_from_above(fraud, score)
    genuine = rows - frauds
    heights = np.diff(genuine, prepend=0)
    before = frauds - np.diff(frauds, prepend=0)
    # Twice the area in whole numbers: exact whatever the number of rows.
    return int((heights * (frauds + before)).sum()) / (2 * frauds_all * genuine_all)


def average_precision(fraud: Bools, score: Floats) -> float:
    """The mean precision at the frauds, from the highest score down; NaN without frauds."""
    frauds_all = int(fraud.sum())
    if not frauds_all:
        return math.nan
    frauds, rows = counts_from_above(fraud, score)
    return float((np.diff(frauds, prepend=0) * (frauds / rows)).sum() / frauds_all)
