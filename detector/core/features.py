"""Features: batch columns and entity tables → a float64 matrix (n, features), NaN where a feature has no value.

Row-serial inside each entity's kernel: row *j* sees row *i* < *j* of the same entity in the same batch. Entities do not
see one another, so each runs over the whole batch in turn. A late row (below the watermark) reads its features as of
its own event time, and is not learned.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.core.batch import TransactionBatch
from detector.core.entities import (
    DONE,
    HEAD,
    EntityTable,
    claim_slot_kernel,
    detail_kernel,
    find_slot_kernel,
    grown,
    new_table,
    older_kernel,
    room_kernel,
)
from detector.core.jit import inlined, kernel
from detector.core.plan import (
    AMOUNT_DEVIATION,
    AMOUNT_TO_MAX,
    AMOUNT_TO_MEAN,
    COUNT,
    DISTANCE_KM,
    KIND,
    OUT,
    PEAK_TO_MEAN,
    ROWS_FOR_DEVIATION,
    SECONDS_SINCE_LAST,
    SPEED_KMH,
    SUM,
    WINDOW,
    EntityPlan,
)
from detector.core.sights import forget_sights_kernel, read_sights_kernel, remember_kernel
from detector.core.spec import FeatureKind, Spec
from detector.core.windows import (
    SCRATCH,
    T_AMOUNT,
    T_LARGEST,
    T_PRICED,
    T_ROWS,
    T_SQUARES,
    TOTALS,
    append_kernel,
    details_wanted_kernel,
    gather_kernel,
)

BLOCK_ROWS = 64  # fetched together: their entries fit the second-level cache beside the rest
FETCH_CHUNKS_MAX = 16  # of a chain; later ones are waited for

AMOUNT_MIN = 1e-100  # a ratio to less would leave float64
VARIANCE_MIN = 1e-9  # of mean²: what a difference of float64 sums of squares still tells from zero


def table_for(plan: EntityPlan) -> EntityTable:
    """An empty table with the columns that the plan needs."""
    kinds = plan.kinds
    return new_table(
        recent_width=plan.recent_width,
        distinct=plan.distinct,
        places=bool(kinds & {DISTANCE_KM, SPEED_KMH}),
        detailed=bool(kinds & {AMOUNT_DEVIATION, AMOUNT_TO_MAX, PEAK_TO_MEAN}),
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
    rows = (
        batch.event_time_ms,
        batch.amount,
        batch.key,
        batch.latitude,
        batch.longitude,
        late,
        watermark_ms,
    )
    asked = (
        plan.key,
        plan.window_s,
        plan.cell_per_s,
        plan.totals,
        plan.sights,
        lateness_s,
        plan.entity.slots_max,
    )
    scratch = np.empty((plan.scratch_rows, SCRATCH))
    total = np.zeros((len(plan.window_s), TOTALS))
    here = np.empty(BLOCK_ROWS, np.int64)
    row = 0
    while True:
        row, why = entity_kernel(row, rows, asked, table, scratch, total, here, out)
        if why == DONE:
            return table
        table = grown(table, why)


@kernel
def entity_kernel(row, rows, asked, table, scratch, total, here, out):
    """All rows from `row` on, in order; returns (next row, DONE or what to grow before going on).

    Block by block: first what the block will touch is fetched, all rows at once, then the rows go one after the other.
    """
    end = len(rows[0])
    warmth = 0.0
    while row < end:
        stop = min(end, row + BLOCK_ROWS)
        warmth += fetch_kernel(rows[2], asked[0], row, stop, table, here)
        row, why = rows_kernel(row, stop, rows, asked, table, scratch, total, out)
        if why != DONE:
            return row, why
    scratch[0, 0] = warmth  # what was fetched is used, so that no compiler drops it
    return row, DONE


@inlined
def fetch_kernel(key, own_key, start, stop, table, here):
    """Read one number of each cache line that rows start..stop will need. Decides nothing.

    Entities lie scattered over more memory than a cache holds. A row waits for index, slot and chain one after the
    other; here the rows of a block wait for each of them together, which takes a fraction of the time.
    """
    index, known, last_ms, chain = table.cells, table.key, table.last_ms, table.chain
    whole, sums, detail = table.whole, table.sums, table.detail
    mask = len(index) - 1
    warmth = 0.0
    for i in range(start, stop):
        warmth += index[np.int64(key[own_key, i] & np.uint64(mask))]
    for i in range(start, stop):
        slot = index[np.int64(key[own_key, i] & np.uint64(mask))] - 1
        here[i - start] = slot
        if slot >= 0:
            warmth += chain[slot, HEAD] + last_ms[slot] + np.float64(known[slot])
    for i in range(start, stop):
        slot = here[i - start]
        here[i - start] = chain[slot, HEAD] if slot >= 0 else -1
    for _ in range(FETCH_CHUNKS_MAX):
        alive = False
        for i in range(stop - start):
            chunk = here[i]
            if chunk >= 0:
                warmth += sums[chunk, 0]
                told = detail_kernel(whole, detail, chunk)
                if told >= 0:
                    warmth += detail[told, 0]
                here[i] = older_kernel(whole, chunk)
                alive = True
        if not alive:
            break
    return warmth


@inlined
def rows_kernel(start, stop, rows, asked, table, scratch, total, out):
    """Rows start..stop of one entity, in order; returns as `entity_kernel`."""
    event_time_ms, amount, key, latitude, longitude, late, watermark_ms = rows
    own_key, window_s, cell_per_s, totals, sights, lateness_s, slots_max = asked
    counter, index, known, last_ms, chain, place, place_s, recent, _, _, crowd, _, whole, sums, detail = table
    sets = (table.distinct, table.distinct_s, crowd, table.crowd_s)
    sizes = (len(known), len(index), len(crowd), len(whole), len(detail))
    wanted = (sets[0].shape[1], details_wanted_kernel(scratch, detail))
    longest_ms = 1000 * window_s[len(window_s) - 1]
    for i in range(start, stop):
        identity = key[own_key, i]
        if identity == 0:
            absent_kernel(i, totals, out)
            absent_kernel(i, sights, out)
            continue
        slot = find_slot_kernel(index, known, identity)
        if not late[i]:
            why = room_kernel(counter, sizes, slots_max, wanted)
            if why != DONE:
                return i, why
            if slot < 0:
                slot = claim_slot_kernel(
                    counter, index, known, last_ms, chain, whole, identity, watermark_ms[i] - longest_ms, slots_max
                )
                forget_sights_kernel(slot, place, place_s, recent, sets)
        now_s = event_time_ms[i] // 1000
        last = np.int64(-1)
        if slot >= 0:
            last = last_ms[slot]
            gather_kernel(chain, whole, sums, detail, slot, now_s, window_s, lateness_s, total)
        else:
            total[:] = 0.0
        read_totals_kernel(i, event_time_ms[i], last, amount[i], totals, total, out)
        where = (latitude[i], longitude[i])
        read_sights_kernel(i, slot, last, now_s, key, where, sights, window_s, place, place_s, recent, sets, out)
        if late[i]:
            continue
        append_kernel(
            counter, chain, whole, sums, detail, slot, now_s, amount[i], window_s, cell_per_s, lateness_s, scratch
        )
        last_ms[slot] = max(last, event_time_ms[i])
        remember_kernel(i, slot, now_s, key, where, sights, place, place_s, recent, sets, counter)
    return stop, DONE


@inlined
def absent_kernel(i, feature, out):
    """Row i has no such entity: its features are missing."""
    for f in range(len(feature)):
        out[i, feature[f, OUT]] = np.nan


@inlined
def read_totals_kernel(i, event_time_ms, last_ms, amount, feature, total, out):
    """Write the features of row i that come from the windows; `last_ms` < 0 is an entity never seen."""
    longest = len(total) - 1
    for f in range(len(feature)):
        kind = feature[f, KIND]
        w = feature[f, WINDOW]
        priced = total[w, T_PRICED]
        value = np.nan
        if kind == COUNT:
            value = total[w, T_ROWS]
        elif kind == SUM:
            value = total[w, T_AMOUNT]
        elif kind == SECONDS_SINCE_LAST:
            if 0 <= last_ms <= event_time_ms:
                value = (event_time_ms - last_ms) / 1000.0
        elif kind == AMOUNT_TO_MEAN:
            if total[w, T_AMOUNT] > AMOUNT_MIN:
                value = amount * priced / total[w, T_AMOUNT]
        elif kind == AMOUNT_DEVIATION:
            if priced >= ROWS_FOR_DEVIATION:
                mean = total[w, T_AMOUNT] / priced
                variance = total[w, T_SQUARES] / priced - mean * mean
                if variance > VARIANCE_MIN * mean * mean and mean > AMOUNT_MIN:
                    value = (amount - mean) / np.sqrt(variance)
        elif kind == AMOUNT_TO_MAX:
            if total[w, T_LARGEST] > AMOUNT_MIN:
                value = amount / total[w, T_LARGEST]
        elif kind == PEAK_TO_MEAN and priced > 0.0 and total[longest, T_AMOUNT] > AMOUNT_MIN:
            value = total[w, T_LARGEST] * total[longest, T_PRICED] / total[longest, T_AMOUNT]
        out[i, feature[f, OUT]] = value
