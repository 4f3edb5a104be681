"""What the spec asks of an entity, compiled into rows of integers that kernels read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.core.entities import ENTRIES_MAX
from detector.core.spec import LABEL_KINDS, Entity, FeatureKind, Spec
from detector.core.windows import cells_per_second, scratch_entries

COUNT = int(FeatureKind.COUNT)
SUM = int(FeatureKind.SUM)
SECONDS_SINCE_LAST = int(FeatureKind.SECONDS_SINCE_LAST)
AMOUNT_TO_MEAN = int(FeatureKind.AMOUNT_TO_MEAN)
AMOUNT_DEVIATION = int(FeatureKind.AMOUNT_DEVIATION)
AMOUNT_TO_MAX = int(FeatureKind.AMOUNT_TO_MAX)
NEW = int(FeatureKind.NEW)
DISTINCT = int(FeatureKind.DISTINCT)
DISTANCE_KM = int(FeatureKind.DISTANCE_KM)
SPEED_KMH = int(FeatureKind.SPEED_KMH)
FRAUD_COUNT = int(FeatureKind.FRAUD_COUNT)
FRAUD_RATE = int(FeatureKind.FRAUD_RATE)
FRAUD_AGE = int(FeatureKind.FRAUD_AGE)
FRAUD_STREAK = int(FeatureKind.FRAUD_STREAK)
PEAK_TO_MEAN = int(FeatureKind.PEAK_TO_MEAN)
SIGHTS = frozenset({NEW, DISTINCT, DISTANCE_KM, SPEED_KMH})

RECENT_MAX = {"merchant": 16, "terminal": 16}  # people shop at many places ...
RECENT_MAX_OTHERS = 4  # ... from few countries and devices
ROWS_FOR_DEVIATION = 3  # a deviation of fewer rows means nothing

# columns of a plan row
OUT, KIND, WINDOW, KEY, OFFSET, WIDTH = range(6)


@dataclass(frozen=True, slots=True)
class EntityPlan:
    """One entity's features, compiled to int32 rows of OUT, KIND, WINDOW, KEY, OFFSET, WIDTH.

    `totals` come from the windows, `sights` from where and with what the entity was seen; `scratch_rows`: as many of
    `scratch` hold any chain of the windows.
    """

    entity: Entity
    key: int
    window_s: NDArray[np.int64]
    cell_per_s: NDArray[np.float64]
    totals: NDArray[np.int32]
    sights: NDArray[np.int32]
    recent_width: int
    distinct: int
    scratch_rows: int

    @property
    def kinds(self) -> set[int]:
        """The feature kinds in use."""
        return set(self.totals[:, KIND].tolist() + self.sights[:, KIND].tolist())


def plan_entity(spec: Spec, entity: Entity, of_labels: bool = False) -> EntityPlan:
    """Compile the features of `entity` out of `spec`: those that rows tell, or those that labels tell.

    Raises ValueError where they have more windows than a chain has entries for.
    """
    mine = [
        (out, feature)
        for out, feature in enumerate(spec.features)
        if feature.entity == entity.name and (feature.kind in LABEL_KINDS) == of_labels
    ]
    windows = sorted({feature.window_ms // 1000 for _, feature in mine if feature.window_ms} or {86_400})
    window_s = np.array(windows, np.int64)
    lateness_s = spec.allowed_lateness_ms // 1000
    scratch_rows = scratch_entries(window_s, lateness_s)
    if scratch_rows > ENTRIES_MAX:
        raise ValueError(f"features of {entity.name}: {len(windows)} windows are too many")
    rows = []
    recent_width = distinct = 0
    for out, feature in mine:
        window = windows.index(feature.window_ms // 1000) if feature.window_ms else 0
        key = spec.keys.index(feature.key) if feature.key else -1
        offset = width = 0
        if feature.kind == FeatureKind.NEW:
            offset, width = recent_width, RECENT_MAX.get(feature.key, RECENT_MAX_OTHERS)
            recent_width += width
        elif feature.kind == FeatureKind.DISTINCT:
            offset, width = distinct, 1
            distinct += width
        rows.append((out, int(feature.kind), window, key, offset, width))
    return EntityPlan(
        entity=entity,
        key=spec.keys.index(entity.key),
        window_s=window_s,
        cell_per_s=cells_per_second(window_s, lateness_s),
        totals=np.array([row for row in rows if row[KIND] not in SIGHTS], np.int32).reshape(-1, 6),
        sights=np.array([row for row in rows if row[KIND] in SIGHTS], np.int32).reshape(-1, 6),
        recent_width=recent_width,
        distinct=distinct,
        scratch_rows=scratch_rows,
    )
