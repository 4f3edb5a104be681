"""Reasons for an alert, as numbers: which features the models' scores come from, how rare they are, against what.

What a feature contributes to the fused score decides the order (see `credit`), among features that are rare by
themselves, so that each reason says something that a person can check. Rarity is read from the reference of the feature
profile, so a reason says only what was known before the row (law: prequential) and does not depend on batches (law: cut
invariance).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.core.batch import ReasonEvidence
from detector.core.defaults import OWNERS
from detector.core.jit import allocating
from detector.core.profile import ABOVE, BELOW, EITHER, SAME, as_bits, quantile_kernel, rarity_kernel
from detector.core.spec import LABEL_KINDS, Feature, FeatureKind, Spec

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
    FeatureKind.FRAUD_AGE: NEVER,  # that there were frauds is the reason, and how many
    FeatureKind.FRAUD_COUNT: WHEN_SET,
    FeatureKind.FRAUD_STREAK: WHEN_SET,
    FeatureKind.NEW: WHEN_SET,
}
# One thing said in three ways: two of them are enough.
FAMILY_MAX = 2
OWN_AMOUNT = frozenset({FeatureKind.AMOUNT_TO_MEAN, FeatureKind.AMOUNT_DEVIATION, FeatureKind.AMOUNT_TO_MAX})
VOLUME = frozenset({FeatureKind.COUNT, FeatureKind.SUM})
ALONE = -1
COUNTED = dict.fromkeys(OWN_AMOUNT, FeatureKind.COUNT) | {FeatureKind.FRAUD_RATE: FeatureKind.FRAUD_COUNT}
BASELINE = frozenset({FeatureKind.AMOUNT_TO_MEAN, FeatureKind.AMOUNT_TO_MAX})


@dataclass(frozen=True, slots=True)
class Tellable:
    """Features that may be reasons: `columns` int64 (m,) among all, ascending, and of each what else there is to know.

    `sides`: on which side it is odd; `families`: those of one number say much the same, ALONE is in none; `behind`: the
    column with the count of what it rests on, transactions or frauds, -1 where there is none.
    """

    columns: NDArray[np.int64]
    sides: NDArray[np.int64]
    families: NDArray[np.int64]
    behind: NDArray[np.int64]


def tellable(features: tuple[Feature, ...], columns: NDArray[np.int64]) -> Tellable:
    """What `explain` must know of `columns`."""
    chosen = [features[column] for column in columns.tolist()]
    families = [_family(one) for one in chosen]
    numbers = {family: number for number, family in enumerate(dict.fromkeys(families)) if family}
    place = {(one.kind, one.entity, one.window_ms): column for column, one in enumerate(features)}
    behind = [
        place.get((COUNTED[one.kind], one.entity, one.window_ms), -1) if one.kind in COUNTED else -1 for one in chosen
    ]
    return Tellable(
        columns,
        np.array([SIDE.get(one.kind, ABOVE) for one in chosen], np.int64),
        np.array([numbers.get(family, ALONE) for family in families], np.int64),
        np.array(behind, np.int64),
    )


def _family(feature: Feature) -> tuple[str, ...]:
    """What a feature says in other words than others do; a card and its customer are mostly one. () for none."""
    whose = "" if feature.entity in OWNERS else feature.entity
    if feature.kind in OWN_AMOUNT:
        return ("amount",)
    if feature.kind in LABEL_KINDS:
        return ("frauds", whose)
    return ("volume", whose) if feature.kind in VOLUME else ()


def explain(
    spec: Spec,
    about: Tellable,
    features: NDArray[np.float64],
    amount: float,
    cumulated: NDArray[np.int64],
    edges: NDArray[np.float64],
    contribution: NDArray[np.float64],
) -> tuple[ReasonEvidence, ...]:
    """At most four reasons for one row among `about.columns` (m,): what is rare, in order of `contribution` (m,).

    Where nothing is rare, the feature that contributes most stands alone; minus infinity is none of them ever.
    `features` float64 (f,) is the row;
    `cumulated` int64 (m, BINS + 1) and `edges` are the feature profile's reference.
    """
    chosen = np.empty((len(about.columns), 6))
    values = features[about.columns]
    empty = (about.behind >= 0) & (features[about.behind] == 0.0)  # an estimate that rests on nothing
    contribution = np.where(empty, -np.inf, contribution)
    count = explain_kernel(values, as_bits(values), about.sides, cumulated, edges, contribution, about.families, chosen)
    evidence = []
    for position, rarity, typical_low, typical_high, low, _ in chosen[:count].tolist():
        column, behind = int(about.columns[int(position)]), int(about.behind[int(position)])
        value = float(features[column])
        compared = spec.features[column].kind in BASELINE and value > 0.0
        baseline = amount / value if compared else float("nan")
        rows = int(features[behind]) if behind >= 0 else 0
        evidence.append(ReasonEvidence(column, value, baseline, rarity, typical_low, typical_high, bool(low), rows))
    return tuple(evidence)


@allocating
def explain_kernel(values, bits, sides, cumulated, edges, contribution, families, chosen):
    """Fill `chosen` (features, 6): position, rarity, 5 % and 95 % quantile, odd for being low, contribution.

    Returns how many. What is rare goes before what is not; within either, and between equals, more contribution, then
    less rarity. Of one of the `families` (features,) FAMILY_MAX are told, each with another number.
    """
    count = 0
    for position in range(len(values)):
        side = sides[position]
        given = contribution[position]
        if side == NEVER or np.isnan(values[position]) or (side == WHEN_SET and values[position] == 0.0):
            continue
        if given == -np.inf:
            continue
        rarity = rarity_kernel(cumulated[position], bits[position], ABOVE if side == WHEN_SET else side)
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
    return pick_kernel(values, bits, sides, cumulated, edges, families, count, chosen)


@allocating
def pick_kernel(values, bits, sides, cumulated, edges, families, ranked, chosen):
    """Leave the reasons at the head of `chosen`, of which `ranked` are in order, and tell the rest of them."""
    order = chosen[:ranked].copy()
    count = 0
    told, said = np.zeros(len(values), np.int64), np.empty(len(values))
    for place in range(ranked):
        if count == REASONS_MAX or (place > 0 and order[place, 1] > RARITY_MAX):
            break
        position = int(order[place, 0])
        family = families[position]
        if family != ALONE:  # what was said often enough in other words, or with the same number, is left out
            if told[family] == FAMILY_MAX or (told[family] > 0 and said[family] == values[position]):
                continue
            told[family] += 1
            said[family] = values[position]
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
