"""What scores are worth beyond their ranks: at a threshold, by card, in money, and beside one another.

Every model flags as many rows as every other, so that the same number is looked at whoever ranks them. Card precision
is that of the Fraud Detection Handbook (Le Borgne, Siblini, Lebichot, Bontempi, 2022), chapter 4.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.lab.quality import average_precision, counts_from_above, roc_auc

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]
CURVE_POINTS_MAX = 400
BITS_MAX = 20.0


def top_of_each_day(score: Floats, day: Integers, budget: int) -> Bools:
    """The `budget` rows of highest score of each day; of equal scores the earlier."""
    order = np.lexsort((np.arange(len(score)), -score, day))
    ordered = day[order]
    first = np.searchsorted(ordered, ordered)
    flagged = np.zeros(len(score), np.bool_)
    flagged[order[np.arange(len(order)) - first < budget]] = True
    return flagged


def top(score: Floats, count: int) -> Bools:
    """The `count` rows of highest score; of equal scores the earlier."""
    flagged = np.zeros(len(score), np.bool_)
    flagged[np.argsort(-score, kind="stable")[:count]] = True
    return flagged


def codes(card: NDArray[np.generic]) -> NDArray[np.int32]:
    """A number from 0 on for each card, int32 (n,). Numbers of that type are such codes already, and stay."""
    numbers: NDArray[Any] = card if card.dtype == np.int32 else np.unique(card, return_inverse=True)[1]
    return numbers.astype(np.int32, copy=False)


def card_precision(
    day: NDArray[np.integer[Any]], card: NDArray[np.generic], fraud: Bools, score: Floats, cards_a_day: int
) -> float:
    """The mean over days of the share of frauds among the cards of the highest score; cards once found drop out."""
    if not len(day):
        return math.nan
    code = codes(card)
    found = np.zeros(int(code.max()) + 1, np.bool_)
    order = np.argsort(day, kind="stable")
    shares = []
    for of_day in np.split(order, np.flatnonzero(np.diff(day[order])) + 1):
        rows = of_day[~found[code[of_day]]]
        cards, position = np.unique(code[rows], return_inverse=True)
        highest = np.full(len(cards), -np.inf)
        np.maximum.at(highest, position, score[rows])
        defrauded = np.zeros(len(cards), np.bool_)
        np.logical_or.at(defrauded, position, fraud[rows])
        first = np.argsort(-highest, kind="stable")[:cards_a_day]
        hit = first[defrauded[first]]
        found[cards[hit]] = True
        shares.append(len(hit) / cards_a_day)
    return float(np.mean(shares))


def at_threshold(fraud: Bools, flagged: Bools) -> dict[str, float]:
    """Counts of the four kinds of rows; accuracy, precision, recall and F1, NaN where there is nothing to divide by."""
    caught, missed = int((fraud & flagged).sum()), int((fraud & ~flagged).sum())
    false_alarms, passed = int((~fraud & flagged).sum()), int((~fraud & ~flagged).sum())
    return {
        "caught": caught,
        "missed": missed,
        "false_alarms": false_alarms,
        "passed": passed,
        "accuracy": _ratio(caught + passed, len(fraud)),
        "precision": _ratio(caught, caught + false_alarms),
        "recall": _ratio(caught, caught + missed),
        "f1": _ratio(2 * caught, 2 * caught + missed + false_alarms),
    }


def cost(fraud: Bools, flagged: Bools, amount: Floats, alert_cost: float) -> float:
    """Amounts of the frauds that were missed, and `alert_cost` for each row flagged. A missing amount is 0."""
    return float(np.nan_to_num(amount)[fraud & ~flagged].sum() + alert_cost * flagged.sum())


def ranking(fraud: Bools, score: Floats) -> dict[str, float]:
    """`roc_auc` and `average_precision`."""
    return {"roc_auc": roc_auc(fraud, score), "average_precision": average_precision(fraud, score)}


def ranks(score: Floats) -> Floats:
    """The share of rows that score at most as high, in (0, 1]; equal scores have equal ranks, the mean of theirs."""
    order = np.argsort(score, kind="stable")
    ordered = score[order]
    first = np.searchsorted(ordered, ordered, "left")
    last = np.searchsorted(ordered, ordered, "right")
    found = np.empty(len(score))
    found[order] = (first + last + 1) / 2
    return found / max(1, len(score))


def bits(rank: Floats, rows: int) -> Floats:
    """How surprising a rank is, -log2 of the share of the `rows` above it: 1 row in 1,024 is 10 bits."""
    surprise: Floats = np.minimum(-np.log2(1.0 - rank + 0.5 / max(1, rows)), BITS_MAX)
    return surprise


def rank_correlation(one: Floats, other: Floats) -> float:
    """Spearman's; NaN where one of the two does not rank at all."""
    return correlation(ranks(one), ranks(other))


def correlation(one: Floats, other: Floats) -> float:
    """Pearson's; NaN where one of the two is constant."""
    if not len(one) or one.min() == one.max() or other.min() == other.max():
        return math.nan
    return float(((one - one.mean()) * (other - other.mean())).mean() / (one.std() * other.std()))


def overlap(one: Floats, other: Floats, count: int) -> float:
    """The share of the `count` highest rows that both have in common."""
    count = min(count, len(one))
    return float((top(one, count) & top(other, count)).sum()) / count if count else math.nan


def roc_curve(fraud: Bools, score: Floats) -> tuple[Floats, Floats]:
    """(share of genuine rows flagged, share of frauds caught), from no row flagged to all."""
    frauds, rows = counts_from_above(fraud, score)
    genuine = rows - frauds
    return _thinned(np.append(0, genuine) / max(1, genuine[-1]), np.append(0, frauds) / max(1, frauds[-1]))


def precision_recall_curve(fraud: Bools, score: Floats) -> tuple[Floats, Floats]:
    """(recall, precision) from the highest score down."""
    frauds, rows = counts_from_above(fraud, score)
    return _thinned(frauds / max(1, frauds[-1]), frauds / rows)


def gains_curve(fraud: Bools, score: Floats) -> tuple[Floats, Floats]:
    """(share of rows looked at, share of frauds caught)."""
    frauds, rows = counts_from_above(fraud, score)
    return _thinned(np.append(0, rows) / rows[-1], np.append(0, frauds) / max(1, frauds[-1]))


def calibration(fraud: Bools, probability: Floats, groups: int = 10) -> list[tuple[float, float, int]]:
    """(mean probability told, share of frauds found, rows) of groups of rows of like probability.

    The groups hold as many frauds as each other, as far as equal probabilities allow: where one row in a thousand is
    fraud, groups of as many rows would hold none.
    """
    order = np.argsort(-probability, kind="stable")
    through = np.cumsum(fraud[order])
    marks = np.searchsorted(through, np.linspace(0, through[-1], groups + 1)[1:-1]) + 1
    ordered = probability[order]
    edges = sorted({0, *(int(np.searchsorted(-ordered, -ordered[mark - 1], "right")) for mark in marks), len(order)})
    found = []
    for start, stop in pairwise(edges):
        rows = order[start:stop]
        found.append((float(probability[rows].mean()), float(fraud[rows].mean()), len(rows)))
    return found


def calibration_error(groups: list[tuple[float, float, int]]) -> float:
    """The mean distance of told and found, a row counting as one."""
    rows = sum(count for _, _, count in groups)
    return _ratio(sum(abs(told - found) * count for told, found, count in groups), rows)


def _thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """At most CURVE_POINTS_MAX points, denser where `x` is small, the first and last always there."""
    if len(x) <= CURVE_POINTS_MAX:
        return x, y
    even = np.linspace(0, 1, CURVE_POINTS_MAX)
    wanted = np.unique(np.concatenate([even**3, even]) * (len(x) - 1)).astype(np.int64)
    kept = np.unique(wanted)
    return x[kept], y[kept]


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
