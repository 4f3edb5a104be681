"""The simulation: same seed, same bytes; in order of event time; every kind of fraud, in its share and its shape."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from producers.encoding import LabelRow, TransactionRow
from producers.genuine import DAY_MS
from producers.rows import NONE, SCENARIOS, Rows, concatenate
from producers.scenarios import TRAVEL_KM_MIN
from producers.simulator import ALL_SCENARIOS, Simulator, SimulatorOptions
from producers.world import KM_PER_DEGREE, RADIUS_KM, REGIONS, WorldOptions, build_world, region_distance_km
from schemas.label import Label
from schemas.transaction import Transaction

SMALL = SimulatorOptions(world=WorldOptions(customers=300, terminals=500, merchants=100), days=5)


def lived(options: SimulatorOptions) -> Rows:
    return concatenate(list(Simulator(options).days()))


@pytest.fixture(scope="module")
def month() -> tuple[Simulator, Rows]:
    simulator = Simulator(SimulatorOptions(days=30))
    return simulator, concatenate(list(simulator.days()))


def of(rows: Rows, scenario: str) -> Rows:
    return rows.take(np.flatnonzero(rows.scenario == SCENARIOS.index(scenario)))


def stream(options: SimulatorOptions, rows_max: int = 10_000) -> tuple[list[bytes], list[bytes], list[str | None]]:
    batches = list(Simulator(options).batches(rows_max))
    return (
        [payload for batch in batches for payload in batch.payloads],
        [payload for batch in batches for payload in batch.label_payloads],
        [key for batch in batches for key in batch.keys],
    )


def test_no_id_can_pass_for_a_card_number() -> None:
    payloads, labels, _ = stream(replace(SMALL, world=replace(SMALL.world, seed=2**32 - 1), days=1))
    texts = [value for row in map(msgspec.json.decode, [*payloads, *labels]) for value in row.values()]
    runs = [re.sub(r"\W|_", "", text) for text in texts if isinstance(text, str)]
    assert max(len(digits) for text in runs for digits in re.findall(r"\d+", text)) < 12


def test_same_seed_same_bytes_however_cut() -> None:
    assert stream(SMALL) == stream(SMALL, rows_max=7)
    other = replace(SMALL, world=replace(SMALL.world, seed=43))
    assert stream(SMALL)[0] != stream(other)[0]


def test_same_bytes_in_another_process() -> None:
    script = (
        "import hashlib; from producers.simulator import *;"
        "o = SimulatorOptions(world=WorldOptions(customers=300, terminals=500, merchants=100), days=5);"
        "print(hashlib.sha256(b''.join(p for b in Simulator(o).batches() for p in b.payloads)).hexdigest())"
    )
    digests = {subprocess.check_output([sys.executable, "-c", script]) for _ in range(2)}
    assert len(digests) == 1


def test_more_days_do_not_change_the_first_ones() -> None:
    longer = stream(replace(SMALL, days=7))[0]
    assert longer[: len(stream(SMALL)[0])] == stream(SMALL)[0]


def test_event_time_never_falls(month: tuple[Simulator, Rows]) -> None:
    _, rows = month
    assert (np.diff(rows.time_ms) >= 0).all()
    assert rows.time_ms[0] >= 0
    assert rows.time_ms[-1] < 30 * DAY_MS


def test_payloads_are_canonical_transactions_and_labels() -> None:
    payloads, labels, keys = stream(replace(SMALL, label_genuine_share=0.1))
    ids = set()
    for payload, key in zip(payloads, keys, strict=True):
        transaction = Transaction.model_validate_json(payload)
        assert transaction.card_id == key
        assert transaction.channel in ("pos", "online")
        online = transaction.channel == "online"
        assert (transaction.ip is not None) == (transaction.device_id is not None) == online
        assert (transaction.terminal_id is None) == (transaction.lat is None) == (transaction.lon is None) == online
        ids.add(transaction.transaction_id)
    assert len(ids) == len(payloads)
    for payload in labels:
        label = Label.model_validate_json(payload)
        assert label.transaction_id in ids
        assert label.is_fraud == (label.scenario is not None)


def test_structs_have_the_fields_of_the_schemas() -> None:
    assert set(TransactionRow.__struct_fields__) == set(Transaction.model_fields) - {"features"}
    assert set(LabelRow.__struct_fields__) == set(Label.model_fields)


def test_every_fraud_is_labelled_after_the_delay_and_genuine_ones_by_share() -> None:
    options = replace(SMALL, label_delay_ms=7 * DAY_MS, label_genuine_share=0.25, days=20)
    payloads, labels, _ = stream(options)
    times = {row["transaction_id"]: row["event_time"] for row in map(msgspec.json.decode, payloads)}
    decoded = [msgspec.json.decode(label) for label in labels]
    assert all(label["event_time"] - times[label["transaction_id"]] == 7 * DAY_MS for label in decoded)
    frauds = int((lived(options).scenario > 0).sum())
    assert sum(label["is_fraud"] for label in decoded) == frauds > 0
    assert (len(decoded) - frauds) / (len(payloads) - frauds) == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("share", [0.005, 0.01, 0.03])
def test_fraud_share_is_what_was_asked_for_and_steady(share: float) -> None:
    rows = lived(SimulatorOptions(days=40, fraud_share=share))
    fraud = rows.scenario > 0
    assert fraud.mean() == pytest.approx(share, rel=0.12)
    first_days = fraud[rows.time_ms < 8 * DAY_MS].mean()
    assert first_days == pytest.approx(share, rel=0.25), "compromises run from the first day"


def test_every_scenario_has_its_share(month: tuple[Simulator, Rows]) -> None:
    _, rows = month
    count = Counter(SCENARIOS[code] for code in rows.scenario.tolist())
    assert set(count) == set(SCENARIOS)
    shares = {name: count[name] / len(rows) for name in ALL_SCENARIOS}
    assert shares["large_amount"] == pytest.approx(0.0005, rel=0.4), "the handbook's 978 of 1,754,155, in order of size"
    for name, expected in (
        ("compromised_terminal", 0.0038), ("compromised_customer", 0.0024), ("card_testing", 0.0016),
        ("account_takeover", 0.0011), ("impossible_travel", 0.0006),
    ):  # fmt: skip
        assert shares[name] == pytest.approx(expected, rel=0.35), name


@pytest.mark.parametrize("scenario", sorted(ALL_SCENARIOS))
def test_a_scenario_alone(scenario: str) -> None:
    rows = lived(replace(SMALL, scenarios=frozenset([scenario]), fraud_share=0.05, days=20))
    found = {SCENARIOS[code] for code in np.unique(rows.scenario).tolist()}
    assert found == {"genuine", scenario}


def test_no_fraud_where_none_is_wanted() -> None:
    assert (lived(replace(SMALL, fraud_share=0.0)).scenario == 0).all()
    assert (lived(replace(SMALL, scenarios=frozenset())).scenario == 0).all()


def test_large_amounts_follow_the_scale() -> None:
    options = replace(SMALL, world=replace(SMALL.world, amount_scale=10.0), days=40)
    rows = lived(options)
    large = of(rows, "large_amount").amount
    assert len(large)
    assert large.min() > 2_200
    assert rows.amount[rows.scenario == 0].max() <= 2_200


def test_compromised_terminals_are_fraud_for_28_days() -> None:
    rows = lived(replace(SMALL, scenarios=frozenset(["compromised_terminal"]), days=90, fraud_share=0.02))
    frauds = of(rows, "compromised_terminal")
    assert (frauds.terminal != NONE).all()
    spans = []
    for terminal in np.unique(frauds.terminal):
        days = frauds.time_ms[frauds.terminal == terminal] // DAY_MS
        inside = rows.take(np.flatnonzero(rows.terminal == terminal))
        inside = inside.take(
            np.flatnonzero((inside.time_ms // DAY_MS >= days.min()) & (inside.time_ms // DAY_MS <= days.max()))
        )
        spans.append(days.max() - days.min() + 1)
        if spans[-1] <= 28:
            assert (inside.scenario > 0).all(), "every payment at the terminal"
    assert np.median(spans) <= 28
    assert max(spans) > 14


def test_compromised_customers_pay_a_third_times_five() -> None:
    only = replace(SMALL, scenarios=frozenset(["compromised_customer"]), days=60, fraud_share=0.02)
    simulator = Simulator(only)
    frauds = of(lived(only), "compromised_customer")
    ratio = frauds.amount / simulator.world.customer_amount_mean[frauds.customer]
    assert ratio.mean() == pytest.approx(5.0, rel=0.15)


def test_card_testing_is_many_tiny_payments_within_minutes(month: tuple[Simulator, Rows]) -> None:
    _, rows = month
    tests = of(rows, "card_testing")
    assert (tests.terminal == NONE).all()
    bursts = large = 0
    for device in np.unique(tests.device):
        attack = tests.take(np.flatnonzero(tests.device == device))
        for card in np.unique(attack.card):
            burst = attack.take(np.flatnonzero(attack.card == card))
            tiny = burst.amount <= 2.0
            assert 6 <= tiny.sum() <= 14 or len(np.unique(attack.card)) < 3
            assert np.ptp(burst.time_ms) < 30 * 60_000
            assert len(np.unique(burst.merchant)) > 3
            bursts += 1
            large += int((~tiny).sum())
    assert large / bursts == pytest.approx(0.6, abs=0.2)
    assert np.isin(tests.device, rows.device[rows.scenario == 0]).sum() == 0, "the tester's device is nobody else's"


def test_account_takeover_is_new_device_abroad_at_night(month: tuple[Simulator, Rows]) -> None:
    simulator, rows = month
    world, taken = simulator.world, of(rows, "account_takeover")
    hour = taken.time_ms % DAY_MS / 3_600_000
    assert hour.min() >= 0.5
    assert hour.max() < 7
    assert (world.merchant_region[taken.merchant] != world.customer_region[taken.customer]).mean() > 0.99
    assert not np.isin(taken.device, rows.device[rows.scenario == 0]).any()
    assert np.median(taken.amount / world.customer_amount_mean[taken.customer]) > 2.5


def test_impossible_travel_is_faster_than_anything(month: tuple[Simulator, Rows]) -> None:
    simulator, rows = month
    world = simulator.world
    distance = region_distance_km()
    at_shop = rows.take(np.flatnonzero(rows.terminal != NONE))
    clones = np.flatnonzero(at_shop.scenario == SCENARIOS.index("impossible_travel"))
    assert len(clones) > 20
    for row in clones.tolist():
        recent = np.flatnonzero(
            (at_shop.card[:row] == at_shop.card[row]) & (at_shop.time_ms[row] - at_shop.time_ms[:row] <= 3_600_000)
        )
        regions = world.terminal_region[at_shop.terminal[recent]]
        assert distance[world.terminal_region[at_shop.terminal[row]], regions].max() > TRAVEL_KM_MIN


def test_honest_cards_never_travel_impossibly() -> None:
    rows = lived(SimulatorOptions(world=WorldOptions(customers=2_000), days=60, fraud_share=0.0))
    world = build_world(WorldOptions(customers=2_000))
    shop = rows.take(np.flatnonzero(rows.terminal != NONE))
    shop = shop.take(np.lexsort((shop.time_ms, shop.customer)))
    region = world.terminal_region[shop.terminal]
    same = np.diff(shop.customer) == 0
    moved = region_distance_km()[region[1:], region[:-1]] * same
    hours = np.diff(shop.time_ms) / 3_600_000
    assert (moved > 0).sum() > 20, "people do travel"
    assert (moved / np.maximum(hours, 1e-9))[moved > 0].max() < 1_500


def test_handbook_distributions(month: tuple[Simulator, Rows]) -> None:
    simulator, rows = month
    world = simulator.world
    genuine = rows.take(np.flatnonzero(rows.scenario == 0))
    assert len(genuine) / 30 == pytest.approx(world.customer_tx_per_day.sum() * 0.969, rel=0.02)
    seconds = genuine.time_ms % DAY_MS / 1_000
    assert seconds.mean() == pytest.approx(43_200, rel=0.01)
    assert seconds.std() == pytest.approx(18_400, rel=0.03), "normal with 20,000 s, cut to the day"
    busiest = int(np.argmax(np.bincount(genuine.customer)))
    amounts = genuine.amount[genuine.customer == busiest]
    assert amounts.mean() == pytest.approx(world.customer_amount_mean[busiest], rel=0.2)
    assert amounts.std() == pytest.approx(world.customer_amount_mean[busiest] / 2, rel=0.3)
    assert (genuine.amount >= 0.01).all()
    np.testing.assert_array_equal(genuine.amount, np.round(genuine.amount, 2))
    home = world.terminal_region[genuine.terminal] == world.customer_region[genuine.customer]
    assert home[genuine.terminal != NONE].mean() > 0.97


@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 2, 1), (50, 5, 3), (500, 40_000, 30)])
def test_worlds_of_any_size_are_whole(sizes: tuple[int, int, int]) -> None:
    world = build_world(WorldOptions(*sizes))
    near_count = np.diff(world.near_start)
    assert near_count.min() >= 1
    assert world.near_start[-1] == len(world.near)
    assert world.near.max() < sizes[1]
    assert len(world.online_start) == len(REGIONS) + 1
    assert np.diff(world.online_start).min() >= 1
    rows = lived(SimulatorOptions(world=WorldOptions(*sizes), days=5, fraud_share=0.5))
    assert len(rows)
    assert rows.merchant.max() < sizes[2]


def test_terminals_near_are_near() -> None:
    world = build_world(WorldOptions(customers=1_000, terminals=20_000))
    group = np.repeat(np.arange(1_000), np.diff(world.near_start))
    assert (world.terminal_region[world.near] == world.customer_region[group]).all()
    many = np.flatnonzero(np.diff(world.near_start) > 5)
    for customer in many[:50].tolist():
        near = world.near[world.near_start[customer] : world.near_start[customer + 1]]
        assert len(np.unique(near)) == len(near)
        km = np.ptp(world.terminal_latitude[near]) * KM_PER_DEGREE
        assert km <= 2 * RADIUS_KM + 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fraud_share": 1.5}, "fraud_share between 0 and 1"),
        ({"scenarios": frozenset(["phishing"])}, "found phishing"),
        ({"days": -1}, "days"),
        ({"world": WorldOptions(customers=0)}, "customers above 0"),
    ],
)
def test_options_out_of_range_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Simulator(replace(SMALL, **change))  # type: ignore[arg-type]
