"""What a score is worth: the figures of one run over some rows of a set.

Figures of ranks (ROC AUC, average precision) are `detector.lab.quality`'s. The others need a threshold: every
contender flags the rows of each event-time day that it scores highest, as many as the alert budget allows, so that the
same number of rows is looked at whoever ranks them. Card precision is that of the Fraud Detection Handbook (Le Borgne,
Siblini, Lebichot, Bontempi, 2022), chapters 3 and 4.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from detector.core.budget import DAY_MS
from detector.lab.figures import card_precision, top_of_each_day
from detector.lab.quality import average_precision, roc_auc
from tests.quality.bench.sets import BOOK_WEEK_MS, Loaded

CARDS_A_DAY = 100
TRAINING_DAYS, DELAY_DAYS = 7, 7  # of the Handbook's protocol, before its test week
TERMINAL_SCENARIO, CARD_SCENARIO = 2, 3
APART_DAYS = {"terminal": 28, "card": 14}  # frauds of one entity further apart belong to two compromises

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Figures = dict[str, float]


def figures(data: Loaded, score: Floats, rows: slice) -> Figures:
    """Of `score`, one for each row of `rows`. NaN where there is nothing to divide by."""
    fraud, day = data.fraud[rows], data.day[rows]
    flagged = top_of_each_day(score, day, data.alerts_per_day)
    found = {
        "auc": roc_auc(fraud, score),
        "ap": average_precision(fraud, score),
        "precision_at_budget": float(fraud[flagged].mean()) if flagged.any() else math.nan,
    }
    if "scenario" in data.extra:
        found |= compromises(data, flagged, rows)
        found |= book_week(data, score, rows)
    return found


def compromises(data: Loaded, flagged: Bools, rows: slice) -> Figures:
    """Of cards and terminals: the share of compromises of which any fraud was flagged, and hours until then.

    A compromise begins with the first fraud of an entity in the rows. `*_delay_h` is the median over all compromises;
    infinite where fewer than half are found.
    """
    found: Figures = {}
    for name, scenario in (("card", CARD_SCENARIO), ("terminal", TERMINAL_SCENARIO)):
        hit = data.extra["scenario"][rows] == scenario
        entity, time_ms = data.extra[name][rows][hit], data.event_time_ms[rows][hit]
        delays = delays_h(entity, time_ms, flagged[hit], APART_DAYS[name])
        found[f"{name}_caught"] = float(np.isfinite(delays).mean()) if len(delays) else math.nan
        found[f"{name}_delay_h"] = float(np.median(delays)) if len(delays) else math.nan
    return found


def delays_h(entity: NDArray[np.int64], time_ms: NDArray[np.int64], flagged: Bools, apart_days: int) -> Floats:
    """Hours from the first fraud of each compromise to its first flagged one; infinite where there is none."""
    order = np.lexsort((time_ms, entity))
    entity, time_ms, flagged = entity[order], time_ms[order], flagged[order]
    gap = np.diff(time_ms, prepend=time_ms[:1]) > apart_days * DAY_MS
    begins = np.flatnonzero((np.diff(entity, prepend=entity[:1] - 1) != 0) | gap)
    if not len(begins):
        return np.empty(0)
    when = np.where(flagged, time_ms, np.inf)
    delays: Floats = (np.minimum.reduceat(when, begins) - time_ms[begins]) / 3_600_000
    return delays


def book_week(data: Loaded, score: Floats, rows: slice) -> Figures:
    """ROC AUC, average precision and card precision@100 in the Handbook's test week; nothing where rows end before.

    Rows of cards that are known compromised are left out: a fraud of theirs lies in the training week, or at least the
    delay before the row's day.
    """
    time_ms, fraud, card = data.event_time_ms[rows], data.fraud[rows], data.extra["card"][rows]
    begin_ms, end_ms = BOOK_WEEK_MS
    if not len(time_ms) or time_ms[-1] < end_ms or time_ms[0] > begin_ms - 30 * DAY_MS:
        return {}
    kept = np.zeros(len(time_ms), np.bool_)
    training_ms = begin_ms - (TRAINING_DAYS + DELAY_DAYS) * DAY_MS
    for day_ms in range(begin_ms, end_ms, DAY_MS):
        start, stop = np.searchsorted(time_ms, [day_ms, day_ms + DAY_MS])
        told, until = np.searchsorted(time_ms, [training_ms, day_ms - DELAY_DAYS * DAY_MS])
        known = np.unique(card[told:until][fraud[told:until]])
        kept[start:stop] = ~np.isin(card[start:stop], known)
    day = time_ms[kept] // DAY_MS
    return {
        "week_auc": roc_auc(fraud[kept], score[kept]),
        "week_ap": average_precision(fraud[kept], score[kept]),
        "card_precision_100": card_precision(day, card[kept], fraud[kept], score[kept], CARDS_A_DAY),
    }
