"""Reasons for an alert, as numbers: which features the models' scores come from, how rare they are, against what.

What a feature contributes to the fused score decides the order (see `credit`), among features that are rare by
themselves, so that each reason says something that a person can check. Rarity is read from the reference of the feature
profile, so a reason says only what was known before the row (law: prequential) and does not depend on batches (law: cut
invariance).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.core.batch import ReasonEvidence
from detector.core.jit import allocating
from detector.core.profile import ABOVE, BELOW, EITHER, SAME, as_bits, quantile_kernel, rarity_kernel
from detector.core.spec import Feature, FeatureKind, Spec

REASONS_MAX = 4
RARITY_MAX = 0.05
NEVER, WHEN_SET = -1, -2

# where a feature is odd; the others are odd when high
SIDE = {
    FeatureKind.NUMERIC: EITHER,
    FeatureKind.AMOUNT_DEVIATION: EITHER,
    FeatureKind.SECONDS_SINCE_LAST: EITHER,
    FeatureKind.HOUR: SAME,
    FeatureKind.WEEKDAY: NEVER,  # no one would call a Tuesday a reason
    FeatureKind.NEW: WHEN_SET,
}
# One thing said in three ways: two of them are enough where something else is odd too.
OWN_AMOUNT = frozenset({FeatureKind.AMOUNT_TO_MEAN, FeatureKind.AMOUNT_DEVIATION, FeatureKind.AMOUNT_TO_MAX})
OWN_AMOUNT_MAX = 2
BASELINE = frozenset({FeatureKind.AMOUNT_TO_MEAN, FeatureKind.AMOUNT_TO_MAX})


def sides_of(features: tuple[Feature, ...], columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each of `columns` the side on which its feature is odd, as `explain_kernel` reads it."""
    return np.array([SIDE.get(features[column].kind, ABOVE) for column in columns.tolist()], np.int64)


def explain(
    spec: Spec,
    columns: NDArray[np.int64],
    sides: NDArray[np.int64],
    features: NDArray[np.float64],
    amount: float,
    cumulated: NDArray[np.int64],
    edges: NDArray[np.float64],
    contribution: NDArray[np.float64],
) -> tuple[ReasonEvidence, ...]:
    """At most four reasons for one row among `columns`: what is rare, in order of `contribution` (len(columns),).

    Where nothing is rare, the feature that contributes most stands alone. `features` float64 (f,) is the row;
    `cumulated` int64 (len(columns), BINS + 1) and `edges` are the feature profile's reference.
    """
    chosen = np.empty((len(columns), 6))
    alike = np.array([spec.features[column].kind in OWN_AMOUNT for column in columns.tolist()])
    values = features[columns]
    count = explain_kernel(values, as_bits(values), sides, cumulated, edges, contribution, alike, chosen)
    evidence = []
    for position, rarity, typical_low, typical_high, low, _ in chosen[:count].tolist():
        column = int(columns[int(position)])
        value = float(features[column])
        compared = spec.features[column].kind in BASELINE and value > 0.0
        baseline = amount / value if compared else float("nan")
        rows = rows_behind(spec.features, column, features)
        evidence.append(ReasonEvidence(column, value, baseline, rarity, typical_low, typical_high, bool(low), rows))
    return tuple(evidence)


def rows_behind(features: tuple[Feature, ...], column: int, values: NDArray[np.float64]) -> int:
    """How many transactions an own mean, deviation or maximum rests on, by the count of the same window.

    0 for other features, and where that count is not among `features`, whose `values` (f,) are the row.
    """
    one = features[column]
    if one.kind not in OWN_AMOUNT:
        return 0
    counts = (
        values[place]
        for place, other in enumerate(features)
        if other.kind == FeatureKind.COUNT and (other.entity, other.window_ms) == (one.entity, one.window_ms)
    )
    return int(next(counts, 0.0))


@allocating
def explain_kernel(values, bits, sides, cumulated, edges, contribution, alike, chosen):
    """Fill `chosen` (features, 6): position, rarity, 5 % and 95 % quantile, odd for being low, contribution.

    Returns how many. What is rare goes before what is not; within either, and between equals, more contribution, then
    less rarity. Of features that are `alike` (features,) those after the first
    OWN_AMOUNT_MAX come last.
    """
    count = 0
    for position in range(len(values)):
        side = sides[position]
        if side == NEVER or np.isnan(values[position]) or (side == WHEN_SET and values[position] == 0.0):
            continue
        rarity = rarity_kernel(cumulated[position], bits[position], ABOVE if side == WHEN_SET else side)
        given = contribution[position]
        place = count
        while place > 0:
            above = chosen[place - 1]
            if (rarity <= RARITY_MAX) != (above[1] <= RARITY_MAX):
                before = rarity <= RARITY_MAX
            else:
                before = given > above[5] or (given == above[5] and rarity < above[1])
            if not before:
                break
            chosen[place, 0], chosen[place, 1], chosen[place, 5] = above[0], above[1], above[5]
            place -= 1
        chosen[place, 0], chosen[place, 1], chosen[place, 5] = position, rarity, given
        count += 1
    return pick_kernel(values, bits, sides, cumulated, edges, alike, count, chosen)


@allocating
def pick_kernel(values, bits, sides, cumulated, edges, alike, ranked, chosen):
    """Leave the reasons at the head of `chosen`, of which `ranked` are in order, and tell the rest of them."""
    order = chosen[:ranked].copy()
    count = 0
    for surplus in (False, True):  # what was said often enough in other words comes last
        twins = 0
        for place in range(ranked):
            if count == REASONS_MAX or (place > 0 and order[place, 1] > RARITY_MAX):
                break
            twin = alike[int(order[place, 0])]
            twins += twin
            if surplus == (twin and twins > OWN_AMOUNT_MAX):
                chosen[count] = order[place]
                count += 1
    for reason in range(count):
        position = int(chosen[reason, 0])
        counts = cumulated[position]
        chosen[reason, 2] = quantile_kernel(counts, edges, 0.05)
        chosen[reason, 3] = quantile_kernel(counts, edges, 0.95)
        side = sides[position]
        either_low = side == EITHER and rarity_kernel(counts, bits[position], BELOW) <= chosen[reason, 1]
        chosen[reason, 4] = 1.0 if side == BELOW or either_low else 0.0
    return count
