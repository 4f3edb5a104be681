"""Streams for the tests of the core: what a log may hold at its worst, in few rows, and specs that look at all of it.

A row is one integer, read as digits in the sizes of the tables below, so that hypothesis draws it at once and shrinks
it towards the plainest row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from numba import config

from detector.codec.snapshot import restore, snapshot
from detector.core.batch import DecisionBatch, TransactionBatch
from detector.core.defaults import default_features
from detector.core.operator import step
from detector.core.spec import (
    Decision,
    Entity,
    HalfSpaceTrees,
    IsolationForest,
    Mahalanobis,
    ProjectionHistograms,
    Spec,
    parse_feature,
)
from detector.core.state import TaskState, new_state

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
START_MS = 1_700_000_000_123
NAN = float("nan")

WITHOUT_JIT = bool(config.DISABLE_JIT)

# from the latest row on, ms: mostly forward, sometimes back, within the lateness of an hour and beyond, rarely far
DENSE_GAPS = 19
GAPS = (
    *(1_000, 0, 1, 40_000, 7_000, 200_000, 0, 149_000, 1_777, MINUTE, 10 * MINUTE, HOUR, 25 * MINUTE),
    *(-1, -SECOND, -90 * SECOND, -20 * MINUTE, -HOUR + 1, -HOUR),
    *(7 * HOUR, DAY, -HOUR - 1, -5 * HOUR, -9 * DAY, 8 * DAY, 31 * DAY, 400 * DAY),
)
AMOUNTS = (10.0, 49.6, NAN, 0.0, 19.99, 10.0, 412.37, 0.01, 1e12, 5e-324, 50.0, 3.33)
PLACES = ((48.85, 2.35), (NAN, NAN), (40.7, -74.0), (48.86, 2.36), (NAN, 2.0), (48.85, NAN), (-90.0, 180.0), (0.0, 0.0))
NUMBERS = (0.0, 3.5, NAN, -2.0, 1e15, -1e15, 3.6, 1e-9)

KEYS = ("card", "merchant", "terminal", "device", "country")
# 0 is missing; some collide in the index, some have equal fingerprints, some differ in one bit only
HASHES = np.array(
    [
        1 << 48,
        2 << 48,
        0,
        (1 << 48) + 1,
        (7 << 48) + 511,
        (9 << 48) + 511,
        (11 << 48) + 511,
        (3 << 48) + 512,
        2**64 - 1,
    ],
    np.uint64,
)

ENTITIES = (
    Entity("card", "card", slots_max=4),
    Entity("merchant", "merchant", "global", slots_max=1),
    Entity("terminal", "terminal", "global"),
    Entity("device", "device", "global", slots_max=3),
)
MORE_FEATURES = (
    *("card.distinct.merchant.1h", "card.distinct.country.30d", "merchant.amount_deviation.24h"),
    *("terminal.amount_to_max.7d", "terminal.count.90s", "device.speed_kmh", "device.new.card", "merchant.new.country"),
)
SMALL = HalfSpaceTrees(trees=3, height=3, window_rows=9)
EVERY_MEMBER = (
    SMALL,
    IsolationForest(trees=4, sample_rows=8, rebuild_rows=5, pivot_rows=9, weight=0.5),
    ProjectionHistograms("range", projections=5, pivot_rows=9),
    ProjectionHistograms("asinh", projections=5, width=0.5, pivot_rows=14, weight=2.0),
    Mahalanobis(pivot_rows=9),
)
FREE = Decision(alerts_per_day=1_000_000, alert_risk_min=0.0, review_risk_min=700.0, money_weight=0.5)


def features_of(*names: str) -> tuple:
    return tuple(parse_feature(name) for name in names)


EVERYTHING = Spec(
    keys=KEYS,
    numeric=("v",),
    entities=ENTITIES,
    features=features_of(*default_features(ENTITIES, KEYS, ("v",)), *MORE_FEATURES),
    members=(SMALL,),
    decision=FREE,
)
CARD_ONLY = replace(
    EVERYTHING,
    keys=("card",),
    numeric=(),
    entities=(Entity("card", "card", slots_max=5),),
    features=features_of("amount", "card.count.1h", "card.amount_to_mean.24h", "card.seconds_since_last"),
)
SPECS = {
    "everything": EVERYTHING,
    "two members": replace(CARD_ONLY, members=(SMALL, HalfSpaceTrees(2, 4, 14, ("amount", "card.count.1h"))), seed=7),
    "every member": replace(CARD_ONLY, members=EVERY_MEMBER, seed=11),
    "no entity": replace(EVERYTHING, keys=(), entities=(), features=features_of("amount", "hour", "numeric.v")),
    "small budget": replace(CARD_ONLY, decision=Decision(20, 100.0, 500.0), partitions=3, allowed_lateness_ms=SECOND),
    "threshold only": replace(CARD_ONLY, decision=Decision(None, 800.0, 600.0), allowed_lateness_ms=40 * DAY),
}

Code = int
CODE_MAX = 2**31


def examples(with_jit: int, without: int) -> settings:
    """How often a law is tried: compiled kernels run a thousand times as fast as plain ones."""
    return settings(
        max_examples=without if WITHOUT_JIT else with_jit,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )


def codes(rows_max: int = 400) -> st.SearchStrategy[list[Code]]:
    """Rows, as integers: few that hypothesis chose, or many from a seed, since it seldom draws long lists."""
    rows_max = min(rows_max, 70) if WITHOUT_JIT else rows_max
    sizes = st.sampled_from([25, 60, rows_max // 3, rows_max])
    seeded = st.builds(seeded_codes, st.integers(0, 2**32 - 1), sizes, st.booleans())
    return st.one_of(st.lists(st.integers(0, CODE_MAX), max_size=60), seeded)


def seeded_codes(seed: int, rows: int, dense: bool) -> list[Code]:
    """Rows of a seed; dense ones seldom leave a window, so that chains grow long enough to be merged."""
    random = np.random.RandomState(seed)
    gap = random.randint(0, len(GAPS), rows)
    if dense:
        gap = np.where(random.random_sample(rows) < 0.99, gap % DENSE_GAPS, gap)
    rest = random.randint(0, CODE_MAX // len(GAPS), rows)
    return [int(digit + len(GAPS) * code) for digit, code in zip(gap, rest, strict=True)]


def cuts(rows_max: int = 400) -> st.SearchStrategy[list[int]]:
    """Where to cut a stream; places may repeat, or lie beyond its end."""
    return st.lists(st.integers(0, rows_max), max_size=12)


def specs() -> st.SearchStrategy[Spec]:
    return st.sampled_from(sorted(SPECS)).map(SPECS.__getitem__)


def stream(spec: Spec, rows: Sequence[Code]) -> TransactionBatch:
    """The rows, one after the other, as one batch."""
    n = len(rows)
    event_time_ms = np.empty(n, np.int64)
    amount, latitude, longitude = np.empty(n), np.empty(n), np.empty(n)
    key = np.empty((len(spec.keys), n), np.uint64)
    numeric = np.empty((len(spec.numeric), n))
    latest = START_MS
    for i, code in enumerate(rows):
        code, digit = divmod(code, len(GAPS))
        event_time_ms[i] = latest + GAPS[digit]
        latest = max(latest, int(event_time_ms[i]))
        for role in range(len(spec.keys)):
            code, digit = divmod(code, len(HASHES))
            key[role, i] = HASHES[digit]
        code, digit = divmod(code, len(AMOUNTS))
        amount[i] = AMOUNTS[digit]
        code, digit = divmod(code, len(PLACES))
        latitude[i], longitude[i] = PLACES[digit]
        for column in range(len(spec.numeric)):
            code, digit = divmod(code, len(NUMBERS))
            numeric[column, i] = NUMBERS[digit]
    return TransactionBatch(np.arange(n, dtype=np.int64) * 3, event_time_ms, amount, key, latitude, longitude, numeric)


def pieces(batch: TransactionBatch, places: Sequence[int]) -> list[TransactionBatch]:
    """The batch, cut: `len(places) + 1` batches, some of them empty."""
    edges = [0, *sorted(min(place, len(batch)) for place in places), len(batch)]
    return [batch.rows(start, stop) for start, stop in pairwise(edges)]


def run(spec: Spec, batches: Sequence[TransactionBatch], state: TaskState | None = None) -> tuple[TaskState, list[str]]:
    """Fold the batches into `state` (a new one by default); returns it with what was decided, a line a row."""
    state = new_state(spec) if state is None else state
    return state, [line for batch in batches for line in lines(step(spec, state, batch))]


def lines(decided: DecisionBatch) -> list[str]:
    """Everything that was decided on each row, to the last bit."""
    return [
        " ".join(
            [
                decided.score[:, row].tobytes().hex(),
                decided.risk[row].tobytes().hex(),
                str(decided.verdict[row]),
                str(decided.late[row]),
                str(decided.model_version[row]),
                decided.features[row].tobytes().hex(),
                repr(decided.reasons.get(row)),  # repr tells floats apart exactly, and NaN equals NaN
            ]
        )
        for row in range(len(decided))
    ]


def state_bytes(spec: Spec, state: TaskState) -> bytes:
    return snapshot(spec, state)


def assert_laws(spec: Spec) -> tuple[TransactionBatch, TaskState, list[str]]:
    """Cut invariance, round trip and restore ≡ replay, prequential, in one stream; which, its state and decisions."""
    batch = stream(spec, seeded_codes(3, 230, True))
    whole, decided = run(spec, [batch])
    head, tail = pieces(batch, [150])
    state, first = run(spec, pieces(head, [1, 80, 81]))
    state, rest = run(spec, pieces(tail, [9, 40]), restore(spec, state_bytes(spec, state)))
    assert first + rest == decided
    assert state_bytes(spec, state) == state_bytes(spec, whole)
    _, other = run(spec, [head, stream(spec, seeded_codes(9, 40, True))])
    assert other[:150] == decided[:150]
    return batch, whole, decided
