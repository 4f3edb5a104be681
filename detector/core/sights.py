"""Sights: where an entity was last seen, and with what; the features that compare a row with them.

Small sets of 16-bit fingerprints stand in for the values: two values look alike once in 65,535 times, and then a new
one passes for known, never the other way round.
"""

from __future__ import annotations

import numpy as np

from detector.core.jit import inlined
from detector.core.plan import DISTINCT, KEY, KIND, NEW, OFFSET, OUT, SPEED_KMH, WIDTH, WINDOW

SPEED_SECONDS_MIN = 60  # two sights within a minute are a minute apart, so that clock skew makes no speed
EARTH_RADIUS_KM = 6_371.0


@inlined
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
    distinct,
    distinct_s,
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
                value = distinct_kernel(
                    distinct, distinct_s, slot, fingerprint_kernel(with_key), now_s, window, first, end
                )
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
def remember_kernel(i, slot, now_s, key, where, feature, place, place_s, recent, distinct, distinct_s):
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
        last = first + feature[f, WIDTH] - 1
        if kind == NEW:
            move_to_front_kernel(recent, slot, print16, first, last)
        else:
            sight_kernel(distinct, distinct_s, slot, print16, now_s, first, last)


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
