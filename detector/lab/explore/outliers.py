"""Rows outside mean ± k standard deviations, or outside the quartiles by k times their distance (Tukey's fences).

Counts are exact over all rows; the bounds rest on exact means and deviations, and on quartiles of the sample. The rows
that are named are the furthest out. Both rules look at one column at a time, and skewed columns such as amounts have a
long tail that both call outliers: few of these are frauds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NAMED_MAX = 500  # rows of a column and rule
TOP_ROWS = 50


@dataclass(frozen=True, slots=True)
class Rule:
    """`low`, `high` (f,): what lies outside is an outlier; NaN for a column without bounds. `unit` (f,): what the
    distance is told in.
    """

    name: str
    low: Floats
    high: Floats
    unit: Floats


def rules(mean: Floats, deviation: Floats, lower: Floats, upper: Floats, k: float, fence: float) -> tuple[Rule, Rule]:
    """Both, by exact moments and the sample's quartiles. A column whose quartiles are equal has no fences."""
    deviation = np.where(deviation > 0, deviation, np.nan)
    between = np.where(upper > lower, upper - lower, np.nan)
    return (
        Rule(f"mean ± {k:g} sd", mean - k * deviation, mean + k * deviation, deviation),
        Rule(f"quartiles ± {fence:g} IQR", lower - fence * between, upper + fence * between, between),
    )


@dataclass(frozen=True, slots=True)
class Named:
    """An outlier: `away` beyond the bound, in the rule's unit."""

    row: int
    column: int
    value: float
    away: float
    identity: str


class Outliers:
    """The second pass. `below`, `above`, `frauds` (rules, f); `named[rule][column]` the furthest, furthest first."""

    def __init__(self, rules: tuple[Rule, ...], columns: int) -> None:
        self.rules = rules
        self.below, self.above, self.frauds = (np.zeros((len(rules), columns), np.int64) for _ in range(3))
        self.named: list[list[list[Named]]] = [[[] for _ in range(columns)] for _ in rules]
        self.top: list[tuple[int, float, int, str]] = []  # columns outside, distance, row, id
        self.rows_outside = 0

    def add(self, values: Floats, first_row: int, fraud: NDArray[np.bool_], identity: Callable[[int], str]) -> None:
        """The next rows, (n, f), NaN where missing."""
        for place, rule in enumerate(self.rules):
            with np.errstate(invalid="ignore"):
                low, high = values < rule.low, values > rule.high
            outside = low | high
            self.below[place] += low.sum(axis=0)
            self.above[place] += high.sum(axis=0)
            self.frauds[place] += (outside & fraud[:, None]).sum(axis=0)
            away = np.where(high, values - rule.high, np.where(low, rule.low - values, 0.0)) / rule.unit
            for column in np.flatnonzero(outside.any(axis=0)).tolist():
                self._name(place, column, values, away, outside, first_row, identity)
            if place == 0:
                self._rank(outside, away, first_row, identity)

    def _name(
        self, place: int, column: int, values: Floats, away: Floats, outside: NDArray[np.bool_], first_row: int,
        identity: Callable[[int], str],
    ) -> None:  # fmt: skip
        held = self.named[place][column]
        worse = held[-1].away if len(held) == NAMED_MAX else -1.0
        rows = np.flatnonzero(outside[:, column] & (away[:, column] > worse))
        if len(rows) > NAMED_MAX:
            furthest = np.argsort(-away[rows, column], kind="stable")[:NAMED_MAX]
            rows = rows[furthest]
        held += [
            Named(first_row + row, column, float(values[row, column]), float(away[row, column]), identity(row))
            for row in rows.tolist()
        ]
        held.sort(key=lambda one: (-one.away, one.row))
        del held[NAMED_MAX:]

    def _rank(self, outside: NDArray[np.bool_], away: Floats, first_row: int, identity: Callable[[int], str]) -> None:
        """Rows outside in most columns."""
        count = outside.sum(axis=1)
        self.rows_outside += int((count > 0).sum())
        distance = np.where(outside, away, 0.0).sum(axis=1)
        rows = np.lexsort((-distance, -count))[:TOP_ROWS]
        self.top += [
            (int(count[row]), float(distance[row]), first_row + row, identity(row))
            for row in rows.tolist() if count[row]
        ]  # fmt: skip
        self.top = sorted(self.top, key=lambda item: (-item[0], -item[1], item[2]))[:TOP_ROWS]
