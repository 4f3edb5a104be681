"""What labels tell of an entity: its confirmed frauds in chains of entries like all else, with frauds as the amounts.

Laws: as `labels`, whose kernels these are.
"""

from __future__ import annotations

import numpy as np

from detector.core.entities import (
    CHUNK,
    DONE,
    GRID,
    HEAD,
    ROWS,
    SECOND,
    claim_slot_kernel,
    find_slot_kernel,
    length_kernel,
    older_kernel,
    room_kernel,
)
from detector.core.jit import allocating, kernel
from detector.core.plan import FRAUD_AGE, FRAUD_RATE, FRAUD_STREAK, KIND, OUT, WINDOW
from detector.core.windows import T_AMOUNT, T_ROWS, TOTALS, append_kernel, gather_kernel, head_used_kernel

PRIOR_LABELS = 5.0  # a rate is drawn to the stream's own as if by so many labels

NOTHING, FIRST, FLIPPED = range(3)  # what a label does to its row


@allocating
def read_kernel(event_time_ms, key, window_s, lateness_s, feature, prior, parts, out):
    """Write one entity's label features of all rows."""
    index, known, chain, whole, sums, detail = parts
    total = np.zeros((len(window_s), TOTALS))
    for i in range(len(key)):
        slot = find_slot_kernel(index, known, key[i]) if key[i] != 0 else -1
        if slot >= 0:
            gather_kernel(
                chain, whole, sums, detail, np.int64(slot), event_time_ms[i] // 1000, window_s, lateness_s, total
            )
        else:
            total[:] = 0.0
        for f in range(len(feature)):
            frauds = total[feature[f, WINDOW], T_AMOUNT]
            value = frauds
            kind = feature[f, KIND]
            if kind in (FRAUD_AGE, FRAUD_STREAK):
                value = np.nan if kind == FRAUD_AGE else 0.0
                if slot >= 0 and frauds > 0.0:
                    now_s = event_time_ms[i] // 1000
                    age_s, streak = run_kernel(chain, whole, sums, np.int64(slot), now_s, window_s[feature[f, WINDOW]])
                    value = age_s if kind == FRAUD_AGE else streak
            elif kind == FRAUD_RATE:
                value = (frauds + PRIOR_LABELS * prior) / (total[feature[f, WINDOW], T_ROWS] + PRIOR_LABELS)
            out[i, feature[f, OUT]] = value if key[i] != 0 else np.nan


@kernel
def run_kernel(chain, whole, sums, slot, now_s, window_s):
    """(seconds since the first fraud in the window, newest labels in a row that said fraud) of one entity.

    As exact as its entries: those that were merged count as one, at their newest second.
    """
    age_s, streak, unbroken = np.nan, 0.0, True
    chunk = np.int64(chain[slot, HEAD])
    used = head_used_kernel(length_kernel(chain, slot))
    while chunk >= 0:
        for position in range(used - 1, -1, -1):
            entry_s = now_s - np.int64(whole[chunk, 2 * position + SECOND])
            if not 0 <= entry_s < window_s:
                continue
            frauds = sums[chunk, position]
            if frauds > 0.0:
                age_s = np.float64(entry_s) if np.isnan(age_s) else max(age_s, np.float64(entry_s))
            unbroken = unbroken and frauds >= np.float64(np.int64(whole[chunk, 2 * position + ROWS]))
            if unbroken:
                streak += frauds
        chunk = older_kernel(whole, chunk)
        used = CHUNK
    return age_s, streak


@kernel
def count_labels_kernel(row, key, is_fraud, change, arrived_s, asked, table, scratch):
    """Labels from `row` on into one entity's table; returns (next row, DONE or what to grow before going on)."""
    window_s, cell_per_s, lateness_s, slots_max, watermark_s = asked
    counter, index, known, last_ms, chain, _, _, _, _, _, _, _, whole, sums, detail = table
    longest_s = window_s[len(window_s) - 1]
    for i in range(row, len(key)):
        if key[i] == 0:
            continue
        slot = find_slot_kernel(index, known, key[i])
        fraud = 1.0 if is_fraud[i] else 0.0
        if change[i] == FLIPPED:
            if slot >= 0:
                span_s = longest_s // GRID + 1
                correct_kernel(chain, whole, sums, np.int64(slot), arrived_s[i], span_s, 2.0 * fraud - 1.0)
            continue
        why = room_kernel(counter, (len(known), len(index), 0, len(whole), 0), slots_max, (0, 0))
        if why != DONE:
            return i, why
        if slot < 0:
            expire_before_ms = 1000 * (watermark_s - longest_s)
            slot = claim_slot_kernel(counter, index, known, last_ms, chain, whole, key[i], expire_before_ms, slots_max)
        append_kernel(
            counter, chain, whole, sums, detail, slot, arrived_s[i], fraud, window_s, cell_per_s, lateness_s, scratch
        )
        last_ms[slot] = max(last_ms[slot], 1000 * arrived_s[i])
    return len(key), DONE


@kernel
def correct_kernel(chain, whole, sums, slot, arrived_s, span_s, more):
    """Add to the frauds of the entry that holds a label which arrived then: the oldest one not before it.

    An entry holds nothing older than itself by more than `span_s`: where none qualifies, the label's has aged away.
    """
    found = np.int64(-1)
    found_at = np.int64(0)
    found_s = np.int64(0)
    chunk = np.int64(chain[slot, HEAD])
    used = head_used_kernel(length_kernel(chain, slot))
    while chunk >= 0:
        for position in range(used):
            time_s = np.int64(whole[chunk, 2 * position + SECOND])
            if not arrived_s <= time_s <= arrived_s + span_s:
                continue
            if found < 0 or time_s < found_s:
                found = chunk
                found_at = np.int64(position)
                found_s = time_s
        chunk = older_kernel(whole, chunk)
        used = CHUNK
    if found >= 0:
        sums[found, found_at] = max(0.0, sums[found, found_at] + more)
