"""Features against a reference that keeps every row and counts again: exact, but for the windows' edges.

A row leaves a window of length W between W and W + W/24 + 1 s. So the reference first checks that as many rows are in
the window as its two edges allow; and then, as rows leave in order, that every other figure is that of exactly these.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from detector.core.batch import TransactionBatch
from detector.core.entities import CHUNKS, FREE_COUNT, SLOTS, length_kernel
from detector.core.operator import step
from detector.core.spec import Entity, Feature, FeatureKind, HalfSpaceTrees, Spec, parse_feature
from detector.core.state import new_state
from tests.streams import DAY, FREE, HOUR, MINUTE, NAN, SECOND, START_MS, WITHOUT_JIT, features_of

WINDOWS = ("90s", "1h", "24h", "7d", "30d")
KINDS = ("count", "sum", "amount_to_mean", "amount_deviation", "amount_to_max")
ROWS = 250 if WITHOUT_JIT else 4_000
WINDOWED = Spec(
    keys=("card", "merchant", "country"),
    numeric=(),
    entities=(Entity("card", "card"),),
    features=features_of("amount", *(f"card.{kind}.{window}" for kind in KINDS for window in WINDOWS)),
    members=(HalfSpaceTrees(1, 1, 100),),
    decision=FREE,
)
SIGHTS = replace(
    WINDOWED,
    features=features_of(
        *("amount", "hour", "weekday", "card.seconds_since_last", "card.distance_km", "card.speed_kmh"),
        *("card.new.merchant", "card.new.country", "card.distinct.merchant.1h", "card.distinct.country.7d"),
    ),
)


def some_rows(seed: int, rows: int = ROWS, cards: int = 6, jitter_ms: int = 0, back: float = 0.0) -> TransactionBatch:
    """Purchases of a few cards: bursts, pauses, jumps; `jitter_ms` shuffles them a little, `back` far."""
    random = np.random.RandomState(seed)
    gap = random.choice(
        [0, 300, SECOND, 40 * SECOND, 10 * MINUTE, 3 * HOUR, 2 * DAY], rows, p=[0.1, 0.1, 0.2, 0.3, 0.2, 0.09, 0.01]
    )
    event_time_ms = START_MS + np.cumsum(gap.astype(np.int64))
    event_time_ms -= random.randint(0, jitter_ms + 1, rows)
    event_time_ms -= np.where(random.random_sample(rows) < back, random.randint(0, 3 * DAY, rows), 0)
    amount = np.round(np.exp(random.normal(3.0, 1.0, rows)), 2)
    amount[random.random_sample(rows) < 0.1] = NAN
    amount[random.random_sample(rows) < 0.05] = 0.0
    key = np.stack([random.randint(0, most, rows) for most in (cards + 1, 40, 7)]).astype(np.uint64)
    key *= np.uint64(0x9E3779B97F4A7C15)  # 0 stays 0: missing
    latitude, longitude = random.uniform(-90, 90, rows), random.uniform(-180, 180, rows)
    latitude[random.random_sample(rows) < 0.2] = NAN
    return TransactionBatch(np.arange(rows), event_time_ms, amount, key, latitude, longitude, np.empty((0, rows)))


def decided_features(spec: Spec, batch: TransactionBatch) -> tuple[np.ndarray, np.ndarray]:
    decided = step(spec, new_state(spec), batch)
    return decided.features, decided.late


def column(spec: Spec, name: str) -> int:
    return [feature.name for feature in spec.features].index(name)


def amount_feature(kind: str, past: list[float], amount: float) -> float:
    """What a feature of the amounts in a window should be."""
    known = np.array([value for value in past if not math.isnan(value)])
    if kind == "sum":
        return float(known.sum())
    if kind == "amount_to_mean":
        return amount / known.mean() if known.sum() > 0 else NAN
    if kind == "amount_to_max":
        return amount / known.max() if len(known) and known.max() > 0 else NAN
    if len(known) < 3 or known.std() < 1e-4 * known.mean():
        return NAN
    return float((amount - known.mean()) / known.std())


@pytest.mark.parametrize("seed", range(2))
def test_windows_in_order_of_event_time(seed: int) -> None:
    batch = some_rows(seed)
    batch.amount[np.isnan(batch.amount)] = 7.77  # rows with and without amounts leave a window apart
    features, _ = decided_features(WINDOWED, batch)
    second = batch.event_time_ms // 1000
    history: dict[int, list[int]] = {}
    for i in range(len(batch)):
        card = int(batch.key[0, i])
        if card == 0:
            assert np.isnan(features[i, 1:]).all()
            continue
        past = history.setdefault(card, [])
        ages = second[i] - second[past]
        for window in WINDOWS:
            window_s = parse_feature(f"card.count.{window}").window_ms // 1000
            rows = int(features[i, column(WINDOWED, f"card.count.{window}")])
            assert (ages < window_s).sum() <= rows <= (ages < window_s + max(1, window_s // 24) + 1).sum()
            amounts = batch.amount[past[len(past) - rows :]].tolist()
            for kind in KINDS[1:]:
                found = features[i, column(WINDOWED, f"card.{kind}.{window}")]
                expected = amount_feature(kind, amounts, float(batch.amount[i]))
                # the maximum is kept in single precision, the spread of merged entries too
                np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6, err_msg=f"row {i} {kind}.{window}")
        past.append(i)


@pytest.mark.parametrize(
    ("seed", "jitter_ms", "back"), [(3, 2 * SECOND, 0.0), (4, 30 * MINUTE, 0.0), (5, 3 * MINUTE, 0.05)]
)
def test_windows_of_rows_out_of_order(seed: int, jitter_ms: int, back: float) -> None:
    """Rows that come in order see both edges kept, whatever came out of order before them."""
    batch = some_rows(seed, jitter_ms=jitter_ms, back=back)
    features, late = decided_features(WINDOWED, batch)
    second = batch.event_time_ms // 1000
    history: dict[int, list[int]] = {}
    in_order = 0
    for i in range(len(batch)):
        past = history.setdefault(int(batch.key[0, i]), [])
        if batch.key[0, i] == 0:
            continue
        times = second[past]
        ages = second[i] - times
        for window in WINDOWS:
            window_s = parse_feature(f"card.count.{window}").window_ms // 1000
            rows = features[i, column(WINDOWED, f"card.count.{window}")]
            most = (ages < window_s + max(1, window_s // 24) + 1).sum()
            if late[i]:  # what lies that far back has been merged for longer windows
                continue
            assert rows <= most
            if len(past) == 0 or second[i] >= times.max():
                in_order += 1
                assert rows >= (ages < window_s).sum()
            else:  # it misses what shares the finest cell, 3 s here, with younger rows
                assert rows >= ((ages < window_s) & (ages >= 3 + 1)).sum()
        if not late[i]:
            past.append(i)
    assert in_order > len(batch)
    assert late.any() == bool(back)


def test_a_busy_entity_with_rows_out_of_order_keeps_its_past() -> None:
    """Interleaved senders, minutes apart: neighbours never share a cell, and must be merged all the same."""
    rows = 1_500 if WITHOUT_JIT else 20_000
    second = np.arange(rows) * (40 * 86_400 // rows)
    event_time_ms = START_MS + 1000 * (second - np.where(np.arange(rows) % 2 == 1, 1_500, 0))
    spec = replace(WINDOWED, features=features_of("amount", "card.count.1h", "card.count.24h", "card.count.30d"))
    batch = TransactionBatch(
        np.arange(rows),
        event_time_ms,
        np.ones(rows),
        np.full((3, rows), 77, np.uint64),
        np.full(rows, NAN),
        np.full(rows, NAN),
        np.empty((0, rows)),
    )
    state = new_state(spec)
    features = step(spec, state, batch).features
    for name, window_s in (("card.count.1h", 3_600), ("card.count.24h", 86_400), ("card.count.30d", 30 * 86_400)):
        found = features[-2, column(spec, name)]
        age = (event_time_ms[-2] - event_time_ms[:-2]) // 1000
        assert (age < window_s).sum() <= found <= (age < window_s + window_s // 24 + 1).sum()
    table = state.tables[0]
    assert length_kernel(table.chain, 0) < 400
    assert table.counter[CHUNKS] - table.counter[FREE_COUNT] < 120


def test_late_rows_read_and_are_not_learned() -> None:
    """Without them, every other row has the same features."""
    for spec in (WINDOWED, SIGHTS):
        batch = some_rows(11, rows=min(ROWS, 1_500), back=0.2)
        features, late = decided_features(spec, batch)
        assert late.sum() > 20
        kept = np.flatnonzero(~late)
        others = TransactionBatch(
            batch.offset[kept],
            batch.event_time_ms[kept],
            batch.amount[kept],
            np.ascontiguousarray(batch.key[:, kept]),
            batch.latitude[kept],
            batch.longitude[kept],
            np.empty((0, len(kept))),
        )
        features_without, late_without = decided_features(spec, others)
        assert not late_without.any()
        np.testing.assert_array_equal(features_without, features[kept])
        assert not np.isnan(features[late]).all()


def test_late_is_what_lies_below_the_watermark() -> None:
    spec = replace(WINDOWED, allowed_lateness_ms=10_000)
    batch = some_rows(0, rows=6)
    batch.event_time_ms[:] = START_MS + np.array([0, 20_000, 10_000, 9_999, 30_000, 19_999])
    _, late = decided_features(spec, batch)
    assert late.tolist() == [False, False, False, True, False, True]


def haversine_km(one: tuple[float, float], other: tuple[float, float]) -> float:
    (lat0, lon0), (lat1, lon1) = ([math.radians(value) for value in place] for place in (one, other))
    h = math.sin((lat1 - lat0) / 2) ** 2 + math.cos(lat0) * math.cos(lat1) * math.sin((lon1 - lon0) / 2) ** 2
    return 2 * 6_371.0 * math.asin(math.sqrt(min(1.0, h)))


def expected_sights(batch: TransactionBatch, i: int, memory: dict, feature: Feature) -> float:
    """A feature of row i from what is remembered of its card."""
    now_s = int(batch.event_time_ms[i]) // 1000
    if feature.kind == FeatureKind.SECONDS_SINCE_LAST:
        since = int(batch.event_time_ms[i]) - memory["last_ms"]
        return since / 1000 if 0 <= since < DAY * 10_000 else NAN
    if feature.kind in (FeatureKind.DISTANCE_KM, FeatureKind.SPEED_KMH):
        if memory["place"] is None or math.isnan(batch.latitude[i]):
            return NAN
        distance = haversine_km(memory["place"], (batch.latitude[i], batch.longitude[i]))
        if feature.kind == FeatureKind.DISTANCE_KM:
            return distance
        return distance * 3600 / max(60, abs(now_s - memory["place_s"]))
    value = int(batch.key[1 if feature.key == "merchant" else 2, i])
    if value == 0:
        return NAN
    if feature.kind == FeatureKind.NEW:
        known = memory["recent"][feature.key]
        return NAN if not known else float(value not in known)
    seen = memory["seen"][feature.key]
    return float(
        min(8, 1 + sum(other != value and 0 <= now_s - at < feature.window_ms // 1000 for other, at in seen.items()))
    )


def remember(batch: TransactionBatch, i: int, memory: dict) -> None:
    now_s = int(batch.event_time_ms[i]) // 1000
    memory["last_ms"] = max(memory["last_ms"], int(batch.event_time_ms[i]))
    if not math.isnan(batch.latitude[i]) and now_s >= memory["place_s"]:
        memory["place"], memory["place_s"] = (batch.latitude[i], batch.longitude[i]), now_s
    for role, width in ((1, 16), (2, 4)):
        value = int(batch.key[role, i])
        name = ("card", "merchant", "country")[role]
        if value == 0:
            continue
        recent = memory["recent"][name]
        recent[:] = [value, *(other for other in recent if other != value)][:width]
        seen = memory["seen"][name]
        if value not in seen and len(seen) == 8:
            del seen[min(seen, key=seen.__getitem__)]
        seen[value] = max(seen.get(value, 0), now_s)


@pytest.mark.parametrize(("seed", "jitter_ms"), [(0, 0), (1, 20 * MINUTE)])
def test_sights_against_exact_sets(seed: int, jitter_ms: int) -> None:
    batch = some_rows(seed, jitter_ms=jitter_ms)
    features, late = decided_features(SIGHTS, batch)
    assert not late.any()
    cards: dict[int, dict] = {}
    for i in range(len(batch)):
        card = int(batch.key[0, i])
        if card == 0:
            assert np.isnan(features[i, 3:]).all()
            continue
        memory = cards.setdefault(
            card,
            {
                "last_ms": -(10**15),
                "place": None,
                "place_s": 0,
                "recent": {"merchant": [], "country": []},
                "seen": {"merchant": {}, "country": {}},
            },
        )
        for position, feature in enumerate(SIGHTS.features[3:], start=3):
            expected = expected_sights(batch, i, memory, feature)
            np.testing.assert_allclose(
                features[i, position], expected, rtol=1e-4, atol=2e-3, err_msg=f"row {i} {feature.name}"
            )
        remember(batch, i, memory)


def test_hour_and_weekday_are_utc() -> None:
    batch = some_rows(0, rows=4)
    batch.event_time_ms[:] = [
        1_700_000_000_000,  # Tuesday, 14 November 2023, 22:13:20
        1_704_067_199_999,  # Sunday, 31 December 2023, 23:59:59.999
        1_704_067_200_000,  # Monday, 1 January 2024, 00:00
        1_711_846_800_000,  # Sunday, 31 March 2024, 01:00: summer time begins in Europe, not here
    ]
    features, _ = decided_features(SIGHTS, batch)
    assert features[:, 1].tolist() == [22, 23, 0, 1]
    assert features[:, 2].tolist() == [1, 6, 0, 6]


def test_duplicates_in_a_batch_see_one_another() -> None:
    batch = some_rows(0, rows=5)
    batch.event_time_ms[:] = START_MS
    batch.key[:] = 5 << 48
    batch.amount[:] = [10.0, 20.0, 30.0, 40.0, 100.0]
    features, _ = decided_features(WINDOWED, batch)
    assert features[:, column(WINDOWED, "card.count.1h")].tolist() == [0, 1, 2, 3, 4]
    assert features[:, column(WINDOWED, "card.sum.30d")].tolist() == [0, 10, 30, 60, 100]
    np.testing.assert_allclose(features[1:, column(WINDOWED, "card.amount_to_mean.24h")], [2, 2, 2, 4])
    np.testing.assert_allclose(features[4, column(WINDOWED, "card.amount_deviation.24h")], 75 / math.sqrt(125))


@pytest.mark.parametrize("amount", [9.99, 1e12, 123_456.78, 0.01, 1e-9])
def test_equal_amounts_have_no_deviation(amount: float) -> None:
    """Rounding must not pass for spread: what always costs the same deviates by nothing that could be measured."""
    batch = some_rows(0, rows=200)
    batch.event_time_ms[:] = START_MS + np.arange(200) * 1_111_111
    batch.key[:] = 5 << 48
    batch.amount[:] = amount
    features, _ = decided_features(WINDOWED, batch)
    for window in WINDOWS:
        assert np.isnan(features[:, column(WINDOWED, f"card.amount_deviation.{window}")]).all()
    np.testing.assert_allclose(features[1:, column(WINDOWED, "card.amount_to_mean.1h")], 1.0)


def test_small_deviations_around_a_large_mean_are_exact() -> None:
    random = np.random.RandomState(0)
    batch = some_rows(0, rows=150)
    batch.event_time_ms[:] = START_MS + np.arange(150) * 1_500_000
    batch.key[:] = 5 << 48
    batch.amount[:] = 1e6 + np.round(random.normal(0.0, 100.0, 150), 2)
    features, _ = decided_features(WINDOWED, batch)
    past = batch.amount[:-1]
    expected = (batch.amount[-1] - past.mean()) / past.std()
    np.testing.assert_allclose(features[-1, column(WINDOWED, "card.amount_deviation.30d")], expected, rtol=1e-5)


def test_rows_without_an_amount_count_and_do_not_dilute_the_mean() -> None:
    batch = some_rows(0, rows=400)
    batch.event_time_ms[:] = START_MS + np.arange(400) * 600_000
    batch.key[:] = 5 << 48
    batch.amount[:] = np.where(np.arange(400) % 2 == 0, 30.0, NAN)
    batch.amount[-1] = 60.0
    features, _ = decided_features(WINDOWED, batch)
    assert features[-1, column(WINDOWED, "card.count.30d")] == 399
    assert features[-1, column(WINDOWED, "card.amount_to_mean.30d")] == pytest.approx(2.0)
    assert features[-1, column(WINDOWED, "card.amount_to_max.30d")] == pytest.approx(2.0)
    assert np.isnan(features[-3, column(WINDOWED, "card.amount_to_mean.30d")])


def test_an_owners_largest_amount_of_late_against_its_mean() -> None:
    spec = replace(WINDOWED, features=features_of("card.peak_to_mean.24h", "card.count.30d"))
    batch = some_rows(0, rows=5)
    batch.event_time_ms[:] = START_MS + np.arange(5) * 86_400_000
    batch.key[:] = 5 << 48
    batch.amount[:] = (10.0, 20.0, 60.0, 30.0, 999.0)
    features, _ = decided_features(spec, batch)
    assert np.isnan(features[0, 0])
    batch.event_time_ms[:] = START_MS + np.array([0, 1, 50, 51, 52]) * 3_600_000
    features, _ = decided_features(spec, batch)
    assert features[-1, 0] == pytest.approx(60.0 / 30.0)  # 60 of the last day, 30 the mean of four


def test_extreme_amounts_stay_finite_or_missing() -> None:
    for past, now in ((5e-324, 1e12), (1e12, 5e-324), (0.0, 1e12), (1e-99, 1e12), (1e12, 1e12)):
        batch = some_rows(0, rows=8)
        batch.event_time_ms[:] = START_MS
        batch.key[:] = 5 << 48
        batch.amount[:] = past
        batch.amount[-1] = now
        features, _ = decided_features(WINDOWED, batch)
        assert not np.isinf(features).any()


def card_rows(seconds: list[float], amount: float = 10.0) -> TransactionBatch:
    """Rows of one card at these seconds, each at the same merchant and place."""
    batch = some_rows(0, rows=len(seconds))
    batch.event_time_ms[:] = START_MS // DAY * DAY + (1000 * np.array(seconds)).astype(np.int64)
    batch.key[:] = 5 << 48
    batch.amount[:] = amount
    batch.latitude[:], batch.longitude[:] = 48.0, 2.0
    return batch


def test_a_window_is_open_at_its_old_end() -> None:
    """(now − W, now]: what is exactly W old has left."""
    batch = card_rows([0, 3_599.999, 3_600, 7_199.998, 7_200.001])
    features, _ = decided_features(WINDOWED, batch)
    assert features[:, column(WINDOWED, "card.count.1h")].tolist() == [0, 1, 1, 1, 1]
    batch.key[1, 1:] = 7 << 48  # another merchant
    features, _ = decided_features(SIGHTS, batch)
    assert features[:, column(SIGHTS, "card.distinct.merchant.1h")].tolist() == [1, 2, 1, 1, 1]


def test_a_row_out_of_order_does_not_see_its_future() -> None:
    batch = card_rows([10_000, 9_000, 10_001, 9_500])
    features, late = decided_features(WINDOWED, batch)
    assert not late.any()
    assert features[:, column(WINDOWED, "card.count.1h")].tolist() == [0, 0, 2, 1]
    assert features[:, column(WINDOWED, "card.sum.30d")].tolist() == [0.0, 0.0, 20.0, 10.0]
    features, _ = decided_features(SIGHTS, batch)
    since = features[:, column(SIGHTS, "card.seconds_since_last")]
    np.testing.assert_array_equal(since, [NAN, NAN, 1.0, NAN])


def test_the_past_is_kept_fine_for_rows_that_may_still_come() -> None:
    """A row nearly as far back as is allowed: its own hour ends two hours ago, and is counted as finely as any."""
    batch = card_rows([*range(0, 40_000, 160), 40_000 - 3_500])
    features, late = decided_features(WINDOWED, batch)
    assert not late.any()
    assert features[-1, column(WINDOWED, "card.count.1h")] == pytest.approx(3_600 / 160, abs=1.5)


def test_a_recycled_slot_remembers_nothing_of_another_card() -> None:
    spec = replace(SIGHTS, entities=(Entity("card", "card", slots_max=1),))
    batch = card_rows([0, 60, 120, 180])
    batch.key[0] = np.array([5, 5, 6, 6], np.uint64) << np.uint64(48)
    batch.key[1] = np.array([3, 4, 4, 3], np.uint64) << np.uint64(48)
    features, _ = decided_features(spec, batch)
    assert features[1, column(spec, "card.new.merchant")] == 1.0
    assert features[1, column(spec, "card.distance_km")] == 0.0
    assert features[1, column(spec, "card.distinct.merchant.1h")] == 2.0
    assert features[2, column(spec, "card.distinct.merchant.1h")] == 1.0
    assert features[3, column(spec, "card.new.merchant")] == 1.0
    assert features[3, column(spec, "card.distinct.merchant.1h")] == 2.0
    for name in ("card.seconds_since_last", "card.new.merchant", "card.distance_km", "card.speed_kmh"):
        assert np.isnan(features[2, column(spec, name)]), name


def test_tables_grow_and_forget_nothing() -> None:
    """A growth in the middle of a batch must not lose or double a row."""
    rows = 900 if WITHOUT_JIT else 6_000
    batch = some_rows(0, rows=rows)
    batch.event_time_ms[:] = START_MS + np.arange(rows) * 10
    half = np.random.RandomState(0).permutation(rows // 2)
    batch.key[0] = np.concatenate([half, half[::-1]]).astype(np.uint64) + np.uint64(1)
    batch.amount[:] = 1.0
    state = new_state(WINDOWED)
    features = step(WINDOWED, state, batch).features
    assert features[: rows // 2, column(WINDOWED, "card.count.1h")].max() == 0
    assert features[rows // 2 :, column(WINDOWED, "card.count.1h")].min() == 1
    assert state.tables[0].counter[SLOTS] == rows // 2
