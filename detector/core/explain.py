"""Reasons for an alert, as numbers: which of the features that the models look at are rare, how rare, against what.

Rarity is read from the reference of the feature profile, so a reason says only what was known before the row (law:
prequential) and does not depend on batches (law: cut invariance).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.core.batch import ReasonEvidence
from detector.core.profile import ABOVE, BELOW, EITHER, SAME, as_bits, quantile_kernel, rarity_kernel
from detector.core.spec import FeatureKind, Spec

REASONS_MAX = 4
RARITY_MAX = 0.05

# where a feature is odd; the others are odd when high
SIDE = {
    FeatureKind.NUMERIC: EITHER,
    FeatureKind.AMOUNT_DEVIATION: EITHER,
    FeatureKind.SECONDS_SINCE_LAST: BELOW,
    FeatureKind.HOUR: SAME,
}
SILENT = frozenset({FeatureKind.WEEKDAY})  # no one would call a Tuesday a reason
BASELINE = frozenset({FeatureKind.AMOUNT_TO_MEAN, FeatureKind.AMOUNT_TO_MAX})


def explain(
    spec: Spec,
    columns: NDArray[np.int64],
    features: NDArray[np.float64],
    amount: float,
    cumulated: NDArray[np.int64],
    edges: NDArray[np.float64],
) -> tuple[ReasonEvidence, ...]:
    """At most four reasons for one row, the rarest first, among `columns`; the rarest alone when none is rare.

    `features` float64 (f,) is the row; `cumulated` int64 (f, BINS + 1) and `edges` the feature profile's reference.
    """
    bits = as_bits(features)
    found: list[tuple[float, int]] = []
    for column in columns.tolist():
        kind = spec.features[column].kind
        if kind in SILENT or np.isnan(features[column]):
            continue
        if kind == FeatureKind.NEW and features[column] == 0.0:
            continue
        found.append((float(rarity_kernel(cumulated[column], bits[column], SIDE.get(kind, ABOVE))), column))
    found.sort()
    rare = [item for item in found if item[0] <= RARITY_MAX][:REASONS_MAX] or found[:1]
    return tuple(
        _evidence(spec, rarity, column, float(features[column]), amount, cumulated[column], edges)
        for rarity, column in rare
    )


def _evidence(
    spec: Spec,
    rarity: float,
    column: int,
    value: float,
    amount: float,
    cumulated: NDArray[np.int64],
    edges: NDArray[np.float64],
) -> ReasonEvidence:
    baseline = amount / value if spec.features[column].kind in BASELINE and value > 0.0 else float("nan")
    return ReasonEvidence(
        feature=column,
        value=value,
        baseline=baseline,
        rarity=rarity,
        typical_low=float(quantile_kernel(cumulated, edges, 0.05)),
        typical_high=float(quantile_kernel(cumulated, edges, 0.95)),
    )
