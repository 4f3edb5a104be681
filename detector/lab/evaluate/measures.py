"""Figures of an evaluation's results: at a threshold, by period, over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core.budget import DAY_MS
from detector.lab import figures
from detector.lab.evaluate.results import Evaluation, Floats, Result
from detector.lab.roles import Roles

FLAGGED_SHARE = 0.01  # where nothing says how many frauds there are


def stability(ranks: Sequence[Floats], flagged: int) -> dict[str, float]:
    """Means over pairs of seeds."""
    pairs = [(one, other) for place, one in enumerate(ranks) for other in ranks[place + 1 :]]
    return {
        "rank_correlation": float(np.mean([figures.rank_correlation(one, other) for one, other in pairs])),
        "overlap": float(np.mean([figures.overlap(one, other, flagged) for one, other in pairs])),
        "seeds": float(len(ranks)),
    }


def _flag_counts(done: Evaluation) -> list[int]:
    """How many rows of each period are flagged, where no budget a day is named."""
    counts = []
    for fold in done.folds:
        label = done.rows.label[fold.train]
        frauds, known = int((label == 1).sum()), int((label >= 0).sum())
        share = frauds / known if done.labelled and frauds else FLAGGED_SHARE
        counts.append(max(1, round(share * len(fold.test))))
    return counts


def flagged_by(done: Evaluation, rank: Floats | None = None) -> NDArray[np.bool_]:
    """(t,) the rows that a model of this `rank` flags; of no rank, as many in the order of the file."""
    rank = np.zeros(len(done.tested)) if rank is None else rank
    if done.asked.alerts_per_day is not None:
        day = done.rows.event_time_ms[done.tested] // DAY_MS
        return figures.top_of_each_day(rank, day, done.asked.alerts_per_day)
    parts, position = [], 0
    for fold, count in zip(done.folds, _flag_counts(done), strict=True):
        parts.append(figures.top(rank[position : position + len(fold.test)], count))
        position += len(fold.test)
    return np.concatenate(parts)


def measure(done: Evaluation, roles: Roles) -> None:
    """Figures of every result, by the labels."""
    flagged_rows = int(flagged_by(done).sum())
    if done.asked.alerts_per_day is not None:
        done.threshold = f"the {done.asked.alerts_per_day:,} highest rows of each day, {flagged_rows:,} in all"
    elif done.labelled:
        done.threshold = (
            f"as large a share of each period as was fraud among the rows learned before it: {flagged_rows:,} of "
            f"{len(done.tested):,} rows"
        )
    else:
        done.threshold = (
            f"the highest {FLAGGED_SHARE:.0%} of each period: {flagged_rows:,} of {len(done.tested):,} rows"
        )
    if not done.labelled:
        return
    known, fraud = done.known, done.fraud[done.known]
    amount = done.rows.amount[done.tested][known]
    day = (done.rows.event_time_ms[done.tested][known] // DAY_MS).astype(np.int32)
    card: NDArray[Any] = done.rows.card[done.tested][known]
    cards = bool(card.any()) and "event_time" in roles.by_role()
    card = figures.codes(card) if cards else card
    for result in done.results:
        rank, flagged = result.rank[known], flagged_by(done, result.rank)[known]
        found: dict[str, Any] = figures.ranking(fraud, rank) | figures.at_threshold(fraud, flagged)
        found["cost"] = figures.cost(fraud, flagged, amount, done.asked.alert_cost)
        found["card_precision"] = (
            figures.card_precision(day, card, fraud, rank, done.asked.cards_a_day) if cards else math.nan
        )
        if result.probability is not None:
            groups = figures.calibration(fraud, result.probability[known])
            found["calibration_error"] = figures.calibration_error(groups)
        result.figures = found
        result.of_fold = _of_folds(done, result)


def _of_folds(done: Evaluation, result: Result) -> list[dict[str, float]]:
    found, position = [], 0
    for fold in done.folds:
        part = slice(position, position + len(fold.test))
        position += len(fold.test)
        known = done.rows.label[fold.test] >= 0
        found.append(figures.ranking(done.rows.label[fold.test][known] == 1, result.rank[part][known]))
    return found
