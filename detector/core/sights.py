"""Sights: where an entity was last seen, and with what; the features that compare a row with them.

Small sets of 16-bit fingerprints stand in for the values: two values look alike once in 65,535 times, and then a new
one passes for known, never the other way round.

Most entities are ever seen with one value of a `distinct` feature, which their slot holds; only from a second value on
have they a *crowd*, room for eight, which is theirs for good: a slot that changes hands keeps it, emptied.
"""

from __future__ import annotations

import numpy as np

from detector.core.entities import CROWDS, DISTINCT_MAX
from detector.core.jit import inlined
from detector.core.plan import DISTINCT, KEY, KIND, NEW, OFFSET, OUT, SPEED_KMH, WIDTH, WINDOW

SPEED_SECONDS_MIN = 60  # two sights within a minute are a minute apart, so that clock skew makes no speed
EARTH_RADIUS_KM = 6_371.0


@inlined
def forget_sights_kernel(slot, place, place_s, recent, sets):
    """A slot that changes hands remembers nothing."""
    if len(place) > 0:
        place[slot, 0] = np.nan
        place[slot, 1] = np.nan
        place_s[slot] = 0
    for column in range(recent.shape[1]):
        recent[slot, column] = 0
    distinct, distinct_s, crowd, crowd_s = sets
    for column in range(distinct.shape[1]):
        row = crowd_kernel(distinct, distinct_s, slot, column)
        if row < 0:
            distinct[slot, column] = 0
            distinct_s[slot, column] = 0
            continue
        for position in range(DISTINCT_MAX):
            crowd[row, position] = 0
            crowd_s[row, position] = 0


@inlined
def crowd_kernel(distinct, distinct_s, slot, column):
    """The crowd that holds the values of a slot's `distinct` feature; -1 while it has had one, or none."""
    return np.int64(distinct_s[slot, column]) - 1 if distinct[slot, column] == 0 else -1


@inlined
def read_sights_kernel(
    i,
    slot,
    last_ms,
    now_s,
    key,
    where,
    feature,
    window_s,
    place,
    place_s,
    recent,
    sets,
    out,
):
    """Write the features of row i that come from where and with what the entity was last seen."""
    distance = -1.0  # not asked for yet
    for f in range(len(feature)):
        kind = feature[f, KIND]
        value = np.nan
        if kind <= DISTINCT:
            with_key = key[feature[f, KEY], i]
            first = feature[f, OFFSET]
            end = first + feature[f, WIDTH]
            if with_key == 0:
                pass
            elif kind == DISTINCT:
                window = window_s[feature[f, WINDOW]]
                value = distinct_kernel(sets, slot, first, fingerprint_kernel(with_key), now_s, window)
            elif last_ms >= 0:
                value = is_new_kernel(recent, slot, fingerprint_kernel(with_key), first, end)
        elif last_ms >= 0:
            if distance == -1.0:
                distance = distance_kernel(place[slot, 0], place[slot, 1], where[0], where[1])
            value = distance
            if kind == SPEED_KMH:
                value = distance * 3600.0 / max(SPEED_SECONDS_MIN, abs(now_s - np.int64(place_s[slot])))
        out[i, feature[f, OUT]] = value


@inlined
def fingerprint_kernel(key):
    """16 bits of a key, never 0; two values look alike once in 65,535 times."""
    print16 = np.int64(key >> np.uint64(48))
    return print16 if print16 != 0 else 1


@inlined
def is_new_kernel(recent, slot, print16, first, end):
    """1.0 unless the fingerprint is among the last distinct ones; NaN when none is known yet."""
    if recent[slot, first] == 0:
        return np.nan
    for position in range(first, end):
        if recent[slot, position] == print16:
            return 0.0
    return 1.0


@inlined
def distinct_kernel(sets, slot, column, print16, now_s, window_s):
    """Distinct fingerprints of the feature's column within the window, this row's included."""
    distinct, distinct_s, crowd, crowd_s = sets
    count = 1
    if slot >= 0:
        row = crowd_kernel(distinct, distinct_s, slot, column)
        if row < 0:
            count += is_other_kernel(distinct[slot, column], distinct_s[slot, column], print16, now_s, window_s)
        else:
            for position in range(DISTINCT_MAX):
                count += is_other_kernel(crowd[row, position], crowd_s[row, position], print16, now_s, window_s)
    return float(min(count, DISTINCT_MAX))


@inlined
def is_other_kernel(other, other_s, print16, now_s, window_s):
    """1 where there is another fingerprint, seen within the window."""
    return 1 if other != 0 and other != print16 and 0 <= now_s - np.int64(other_s) < window_s else 0


@inlined
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


@inlined
def remember_kernel(i, slot, now_s, key, where, feature, place, place_s, recent, sets, counter):
    """Fold row i into what the slot remembers besides its windows."""
    somewhere = len(place) > 0 and not (np.isnan(where[0]) or np.isnan(where[1]))
    if somewhere and now_s >= np.int64(place_s[slot]):
        place[slot, 0] = where[0]
        place[slot, 1] = where[1]
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
        if kind == NEW:
            move_to_front_kernel(recent, slot, print16, first, first + feature[f, WIDTH] - 1)
        else:
            sight_kernel(counter, sets, slot, first, print16, now_s)


@inlined
def move_to_front_kernel(recent, slot, print16, first, last):
    """Most recent first; the one unseen for longest falls out."""
    position = first
    while position < last and recent[slot, position] != print16:
        position += 1
    while position > first:
        recent[slot, position] = recent[slot, position - 1]
        position -= 1
    recent[slot, first] = print16


@inlined
def sight_kernel(counter, sets, slot, column, print16, now_s):
    """Note when a value was last seen; `room_kernel` has made sure that there is a crowd for a second one."""
    distinct, distinct_s, crowd, crowd_s = sets
    row = crowd_kernel(distinct, distinct_s, slot, column)
    if row < 0:
        only = distinct[slot, column]
        if only == 0 or only == print16:
            distinct[slot, column] = print16
            distinct_s[slot, column] = max(np.int64(distinct_s[slot, column]), now_s)
            return
        row = counter[CROWDS]
        counter[CROWDS] += 1
        crowd[row, 0] = only
        crowd_s[row, 0] = distinct_s[slot, column]
        distinct[slot, column] = 0
        distinct_s[slot, column] = row + 1
    crowd_sight_kernel(crowd, crowd_s, row, print16, now_s)


@inlined
def crowd_sight_kernel(crowd, crowd_s, row, print16, now_s):
    """Note when a crowd's value was last seen, in place of the one unseen for longest."""
    target = 0
    for position in range(DISTINCT_MAX):
        if crowd[row, position] == print16:
            target = position
            break
        if crowd_s[row, position] < crowd_s[row, target]:
            target = position
    known = crowd[row, target] == print16
    crowd[row, target] = print16
    crowd_s[row, target] = max(np.int64(crowd_s[row, target]), now_s) if known else now_s
