"""Features: batch columns and entity tables → a float64 matrix (n, features), NaN where a feature has no value.

Row-serial inside each entity's kernel: row *j* sees row *i* < *j* of the same entity in the same batch. Entities do not
see one another, so each runs over the whole batch in turn. A late row (below the watermark) reads its features as of its
own event time, and is not learned.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from detector.core.batch import TransactionBatch
from detector.core.entities import (
    DISTINCT_MAX,
    DONE,
    EntityTable,
    claim_slot_kernel,
    find_slot_kernel,
    grown,
    new_table,
    room_kernel,
)
from detector.core.spec import Entity, FeatureKind, Spec
from detector.core.windows import (
    T_AMOUNT,
    T_LARGEST,
    T_ROWS,
    T_SQUARE,
    append_kernel,
    cells_per_second,
    gather_kernel,
    scratch_entries,
)

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

RECENT_MAX = {"merchant": 16, "terminal": 16}  # people shop at many places ...
RECENT_MAX_OTHERS = 4  # ... from few countries and devices
ROWS_FOR_DEVIATION = 3  # a deviation of fewer rows means nothing
SPEED_SECONDS_MIN = 60  # two sights within a minute are a minute apart, so that clock skew makes no speed
EARTH_RADIUS_KM = 6_371.0

# columns of a plan row
OUT, KIND, WINDOW, KEY, OFFSET, WIDTH = range(6)


@dataclass(frozen=True, slots=True)
class EntityPlan:
    """One entity's features, compiled to int32 rows of OUT, KIND, WINDOW, KEY, OFFSET, WIDTH.

    `totals` come from the windows, `sights` from where and with what the entity was seen.
    """

    entity: Entity
    key: int
    window_s: NDArray[np.int64]
    cell_per_s: NDArray[np.float64]
    totals: NDArray[np.int32]
    sights: NDArray[np.int32]
    recent_width: int
    distinct_width: int

    @property
    def kinds(self) -> set[int]:
        """The feature kinds in use."""
        return set(self.totals[:, KIND].tolist() + self.sights[:, KIND].tolist())


def plan_entity(spec: Spec, entity: Entity) -> EntityPlan:
    """Compile the features of `entity` out of `spec`."""
    mine = [(out, feature) for out, feature in enumerate(spec.features) if feature.entity == entity.name]
    windows = sorted({feature.window_ms // 1000 for _, feature in mine if feature.window_ms} or {86_400})
    rows = []
    recent_width = distinct_width = 0
    for out, feature in mine:
        window = windows.index(feature.window_ms // 1000) if feature.window_ms else 0
        key = spec.keys.index(feature.key) if feature.key else -1
        offset = width = 0
        if feature.kind == FeatureKind.NEW:
            offset, width = recent_width, RECENT_MAX.get(feature.key, RECENT_MAX_OTHERS)
            recent_width += width
        elif feature.kind == FeatureKind.DISTINCT:
            offset, width = distinct_width, DISTINCT_MAX
            distinct_width += width
        rows.append((out, int(feature.kind), window, key, offset, width))
    return EntityPlan(
        entity=entity,
        key=spec.keys.index(entity.key),
        window_s=np.array(windows, np.int64),
        cell_per_s=cells_per_second(np.array(windows, np.int64)),
        totals=np.array([row for row in rows if row[KIND] < NEW], np.int32).reshape(-1, 6),
        sights=np.array([row for row in rows if row[KIND] >= NEW], np.int32).reshape(-1, 6),
        recent_width=recent_width,
        distinct_width=distinct_width,
    )


def table_for(plan: EntityPlan) -> EntityTable:
    """An empty table with the columns that the plan needs."""
    kinds = plan.kinds
    return new_table(
        recent_width=plan.recent_width,
        distinct_width=plan.distinct_width,
        places=bool(kinds & {DISTANCE_KM, SPEED_KMH}),
        detailed=bool(kinds & {AMOUNT_DEVIATION, AMOUNT_TO_MAX}),
    )


def row_features(spec: Spec, batch: TransactionBatch, out: NDArray[np.float64]) -> None:
    """Fill the columns that need no history."""
    for column, feature in enumerate(spec.features):
        if feature.kind == FeatureKind.AMOUNT:
            out[:, column] = batch.amount
        elif feature.kind == FeatureKind.HOUR:
            out[:, column] = batch.event_time_ms // 3_600_000 % 24
        elif feature.kind == FeatureKind.WEEKDAY:
            out[:, column] = (batch.event_time_ms // 86_400_000 + 3) % 7  # 1970-01-01 was a Thursday
        elif feature.kind == FeatureKind.NUMERIC:
            out[:, column] = batch.numeric[spec.numeric.index(feature.column)]


def entity_features(
    spec: Spec,
    plan: EntityPlan,
    table: EntityTable,
    batch: TransactionBatch,
    late: NDArray[np.bool_],
    watermark_ms: NDArray[np.int64],
    out: NDArray[np.float64],
) -> EntityTable:
    """Fill one entity's columns and fold the rows into its table; returns the table, grown where it had to."""
    lateness_s = spec.allowed_lateness_ms // 1000
    scratch = np.empty((scratch_entries(plan.window_s, lateness_s), 5))
    row = 0
    while True:
        row, why = entity_kernel(
            row,
            batch.event_time_ms,
            batch.amount,
            batch.key,
            batch.latitude,
            batch.longitude,
            late,
            watermark_ms,
            table,
            plan.key,
            plan.window_s,
            plan.cell_per_s,
            plan.totals,
            plan.sights,
            lateness_s,
            plan.entity.slots_max,
            scratch,
            out,
        )
        if why == DONE:
            return table
        table = grown(table, why)


@njit(cache=True, nogil=True)
def entity_kernel(
    row,
    event_time_ms,
    amount,
    key,
    latitude,
    longitude,
    late,
    watermark_ms,
    table,
    own_key,
    window_s,
    cell_per_s,
    totals,
    sights,
    lateness_s,
    slots_max,
    scratch,
    out,
):
    """Rows from `row` on, in order; returns (next row, DONE or what to grow before going on)."""
    counter, index, known, last_ms, chain, place, place_s, recent, distinct, distinct_s, older, whole, sums = table
    total = np.zeros((len(window_s), 4))
    longest_ms = 1000 * window_s[len(window_s) - 1]
    for i in range(row, len(event_time_ms)):
        identity = key[own_key, i]
        if identity == 0:
            for f in range(len(totals)):
                out[i, totals[f, OUT]] = np.nan
            for f in range(len(sights)):
                out[i, sights[f, OUT]] = np.nan
            continue
        slot = find_slot_kernel(index, known, identity)
        if not late[i]:
            why = room_kernel(counter, len(known), slots_max, len(older), len(index))
            if why != DONE:
                return i, why
            if slot < 0:
                slot = claim_slot_kernel(
                    counter, index, known, last_ms, chain, older, identity, watermark_ms[i] - longest_ms, slots_max
                )
                forget_sights_kernel(slot, place, place_s, recent, distinct, distinct_s)
        now_s = event_time_ms[i] // 1000
        last = np.int64(-1)
        if slot >= 0:
            last = last_ms[slot]
            gather_kernel(chain, older, whole, sums, slot, now_s, window_s, lateness_s, total)
        else:
            total[:] = 0.0
        read_totals_kernel(i, event_time_ms[i], last, amount[i], totals, total, out)
        read_sights_kernel(
            i,
            slot,
            last,
            now_s,
            key,
            latitude,
            longitude,
            sights,
            window_s,
            place,
            place_s,
            recent,
            distinct,
            distinct_s,
            out,
        )
        if late[i]:
            continue
        append_kernel(
            counter, chain, older, whole, sums, slot, now_s, amount[i], window_s, cell_per_s, lateness_s, scratch
        )
        last_ms[slot] = max(last, event_time_ms[i])
        remember_kernel(i, slot, now_s, key, latitude, longitude, sights, place, place_s, recent, distinct, distinct_s)
    return len(event_time_ms), DONE


@njit(cache=True, nogil=True)
def forget_sights_kernel(slot, place, place_s, recent, distinct, distinct_s):
    """A slot that changes hands remembers nothing."""
    if len(place) > 0:
        place[slot, 0] = np.nan
        place[slot, 1] = np.nan
        place_s[slot] = 0
    for column in range(recent.shape[1]):
        recent[slot, column] = 0
    for column in range(distinct.shape[1]):
        distinct[slot, column] = 0
        distinct_s[slot, column] = 0


@njit(cache=True, nogil=True)
def read_totals_kernel(i, event_time_ms, last_ms, amount, feature, total, out):
    """Write the features of row i that come from the windows; `last_ms` < 0 is an entity never seen."""
    for f in range(len(feature)):
        kind = feature[f, KIND]
        w = feature[f, WINDOW]
        rows = total[w, T_ROWS]
        value = np.nan
        if kind == COUNT:
            value = rows
        elif kind == SUM:
            value = total[w, T_AMOUNT]
        elif kind == SECONDS_SINCE_LAST:
            if 0 <= last_ms <= event_time_ms:
                value = (event_time_ms - last_ms) / 1000.0
        elif kind == AMOUNT_TO_MEAN:
            if total[w, T_AMOUNT] > 0.0:
                value = amount * rows / total[w, T_AMOUNT]
        elif kind == AMOUNT_DEVIATION:
            if rows >= ROWS_FOR_DEVIATION:
                mean = total[w, T_AMOUNT] / rows
                variance = total[w, T_SQUARE] / rows - mean * mean
                if variance > 1e-9 * mean * mean:
                    value = (amount - mean) / np.sqrt(variance)
        elif kind == AMOUNT_TO_MAX:
            if total[w, T_LARGEST] > 0.0:
                value = amount / total[w, T_LARGEST]
        out[i, feature[f, OUT]] = value


@njit(cache=True, nogil=True)
def read_sights_kernel(
    i,
    slot,
    last_ms,
    now_s,
    key,
    latitude,
    longitude,
    feature,
    window_s,
    place,
    place_s,
    recent,
    distinct,
    distinct_s,
    out,
):
    """Write the features of row i that come from where and with what the entity was last seen."""
    for f in range(len(feature)):
        kind = feature[f, KIND]
        value = np.nan
        if kind == NEW or kind == DISTINCT:
            with_key = key[feature[f, KEY], i]
            first = feature[f, OFFSET]
            end = first + feature[f, WIDTH]
            if with_key == 0:
                pass
            elif kind == DISTINCT:
                window = window_s[feature[f, WINDOW]]
                value = distinct_kernel(
                    distinct, distinct_s, slot, fingerprint_kernel(with_key), now_s, window, first, end
                )
            elif last_ms >= 0:
                value = is_new_kernel(recent, slot, fingerprint_kernel(with_key), first, end)
        elif last_ms >= 0:
            value = distance_kernel(place[slot, 0], place[slot, 1], latitude[i], longitude[i])
            if kind == SPEED_KMH:
                value = value * 3600.0 / max(SPEED_SECONDS_MIN, abs(now_s - np.int64(place_s[slot])))
        out[i, feature[f, OUT]] = value


@njit(cache=True, nogil=True)
def fingerprint_kernel(key):
    """16 bits of a key, never 0; two values look alike once in 65,535 times."""
    print16 = np.int64(key >> np.uint64(48))
    return print16 if print16 != 0 else 1


@njit(cache=True, nogil=True)
def is_new_kernel(recent, slot, print16, first, end):
    """1.0 unless the fingerprint is among the last distinct ones; NaN when none is known yet."""
    if recent[slot, first] == 0:
        return np.nan
    for position in range(first, end):
        if recent[slot, position] == print16:
            return 0.0
    return 1.0


@njit(cache=True, nogil=True)
def distinct_kernel(distinct, distinct_s, slot, print16, now_s, window_s, first, end):
    """Distinct fingerprints within the window, this row's included."""
    count = 1
    if slot >= 0:
        for position in range(first, end):
            other = distinct[slot, position]
            age = now_s - np.int64(distinct_s[slot, position])
            if other != 0 and other != print16 and 0 <= age < window_s:
                count += 1
    return float(min(count, end - first))


@njit(cache=True, nogil=True)
def distance_kernel(latitude0, longitude0, latitude, longitude):
    """Great-circle distance in km (haversine, mean radius); NaN where either place is unknown."""
    if np.isnan(latitude0) or np.isnan(latitude) or np.isnan(longitude):
        return np.nan
    phi0 = np.radians(np.float64(latitude0))
    phi1 = np.radians(latitude)
    half_phi = (phi1 - phi0) / 2.0
    half_lambda = np.radians(longitude - np.float64(longitude0)) / 2.0
    h = np.sin(half_phi) ** 2 + np.cos(phi0) * np.cos(phi1) * np.sin(half_lambda) ** 2
    return 2.0 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(min(1.0, h)))


@njit(cache=True, nogil=True)
def remember_kernel(i, slot, now_s, key, latitude, longitude, feature, place, place_s, recent, distinct, distinct_s):
    """Fold row i into what the slot remembers besides its windows."""
    if len(place) > 0 and not (np.isnan(latitude[i]) or np.isnan(longitude[i])):
        if now_s >= np.int64(place_s[slot]):
            place[slot, 0] = latitude[i]
            place[slot, 1] = longitude[i]
            place_s[slot] = now_s
    for f in range(len(feature)):
        kind = feature[f, KIND]
        if kind > DISTINCT:
            continue
        with_key = key[feature[f, KEY], i]
        if with_key == 0:
            continue
        print16 = fingerprint_kernel(with_key)
        first = feature[f, OFFSET]
        last = first + feature[f, WIDTH] - 1
        if kind == NEW:
            move_to_front_kernel(recent, slot, print16, first, last)
        else:
            sight_kernel(distinct, distinct_s, slot, print16, now_s, first, last)


@njit(cache=True, nogil=True)
def move_to_front_kernel(recent, slot, print16, first, last):
    """Most recent first; the one unseen for longest falls out."""
    position = first
    while position < last and recent[slot, position] != print16:
        position += 1
    while position > first:
        recent[slot, position] = recent[slot, position - 1]
        position -= 1
    recent[slot, first] = print16


@njit(cache=True, nogil=True)
def sight_kernel(distinct, distinct_s, slot, print16, now_s, first, last):
    """Note when a value was last seen, in place of the one unseen for longest."""
    target = first
    for position in range(first, last + 1):
        if distinct[slot, position] == print16:
            target = position
            break
        if distinct_s[slot, position] < distinct_s[slot, target]:
            target = position
    known = distinct[slot, target] == print16
    distinct[slot, target] = print16
    distinct_s[slot, target] = max(np.int64(distinct_s[slot, target]), now_s) if known else now_s
