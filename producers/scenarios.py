"""Fraud: three scenarios of the Fraud Detection Handbook and three more, put into a day of genuine payments.

==========================  ==========================================================================================
scenario                    what happens
==========================  ==========================================================================================
`large_amount`              handbook 1: every amount above 220 (in proportion to the amounts' scale)
`compromised_terminal`      handbook 2: every payment at a terminal, for 28 days
`compromised_customer`      handbook 3: a third of a customer's payments times 5, for 14 days
`card_testing`              6–14 tiny online payments on one card within minutes, at several merchants, from one device
                            that tests several cards; mostly a large payment follows
`account_takeover`          3–6 online payments at night: new device, address and merchants abroad, unusual amounts
`impossible_travel`         a cloned card: 10–60 minutes after a payment at a terminal, another more than 1,500 km away
==========================  ==========================================================================================

Law: starts of day *d* are a pure function of seed and *d*; long compromises begin before the start, so that the share
of fraud is steady from the first day. The first scenario follows from the amounts; the others share what is left of
`share` by WEIGHTS. A payment of two scenarios bears the later one of the table's first three.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from producers.genuine import ADDRESSES, DAY_MS, MOBILE_ADDRESSES, to_cents
from producers.rows import NONE, SCENARIOS, Rows, concatenate
from producers.world import AMOUNT_MEAN_MAX, IntArray, World, region_distance_km, share_above_large

WEIGHTS = {
    "compromised_terminal": 0.40,
    "compromised_customer": 0.25,
    "card_testing": 0.17,
    "account_takeover": 0.12,
    "impossible_travel": 0.06,
}
TERMINAL_DAYS, CUSTOMER_DAYS = 28, 14
COMPROMISED_AMOUNT_SHARE, COMPROMISED_AMOUNT_FACTOR = 1 / 3, 5.0
POS_SHARE = 0.7  # of genuine payments, by the world's online shares
IN_DAY_SHARE = 0.969  # of the handbook's normal times
TESTS_MIN, TESTS_MAX = 6, 14
CARDS_PER_TESTER = 3
LARGE_AFTER_TESTS = 0.6
TAKEOVER_MIN, TAKEOVER_MAX = 3, 6
TRAVEL_KM_MIN = 1_500.0
MINUTE_MS = 60_000
ATTACKER_DEVICE = 1 << 38  # codes above are devices of attackers; written out, they look like any other
TRIES = 48


@dataclass(slots=True)
class Fraud:
    """Which scenarios run and how often; holds the compromises that are under way, by the day they end."""

    world: World
    share: float
    scenarios: frozenset[str]
    _ends: dict[str, list[tuple[int, IntArray]]] = field(default_factory=dict)
    _per_day: dict[str, float] = field(default_factory=dict)
    _attackers: int = 0

    def __post_init__(self) -> None:
        world, chosen = self.world, [name for name in WEIGHTS if name in self.scenarios]
        large = share_above_large(world) if "large_amount" in self.scenarios else 0.0
        left = max(self.share - large, 0.0) / max(sum(WEIGHTS[name] for name in chosen), 1e-9)
        share = {name: left * WEIGHTS[name] for name in chosen}
        payments = float(world.customer_tx_per_day.sum()) * IN_DAY_SHARE
        mean_burst = (TESTS_MIN + TESTS_MAX) / 2 + LARGE_AFTER_TESTS
        rate = {
            "compromised_terminal": len(world.terminal_region) / POS_SHARE / TERMINAL_DAYS,
            "compromised_customer": len(world.customer_region) / COMPROMISED_AMOUNT_SHARE / CUSTOMER_DAYS,
            "card_testing": payments / (mean_burst * CARDS_PER_TESTER),
            "account_takeover": payments / ((TAKEOVER_MIN + TAKEOVER_MAX) / 2),
            "impossible_travel": payments,
        }
        self._per_day = {name: share[name] * rate[name] for name in chosen}

    def start_compromises(self, rng: np.random.Generator, day: int) -> None:
        """Compromises that begin on this day; call once for every day from −28 on."""
        for name, days, among in (
            ("compromised_terminal", TERMINAL_DAYS, len(self.world.terminal_region)),
            ("compromised_customer", CUSTOMER_DAYS, len(self.world.customer_region)),
        ):
            begun = rng.integers(0, among, rng.poisson(self._per_day.get(name, 0.0)))
            active = [entry for entry in self._ends.get(name, []) if entry[0] > day]
            self._ends[name] = [*active, (day + days, begun)]

    def apply(self, rng: np.random.Generator, rows: Rows, day: int) -> Rows:
        """The day's rows with fraud in them: some rows marked and changed in place, others added; unordered."""
        if self.share <= 0:
            return rows
        if "large_amount" in self.scenarios:
            rows.scenario[rows.amount > self.world.amount_large] = SCENARIOS.index("large_amount")
        if "compromised_terminal" in self.scenarios:
            at = np.isin(rows.terminal, self._active("compromised_terminal"))
            rows.scenario[at] = SCENARIOS.index("compromised_terminal")
        if "compromised_customer" in self.scenarios:
            of = np.flatnonzero(np.isin(rows.customer, self._active("compromised_customer")))
            of = of[rng.random(len(of)) < COMPROMISED_AMOUNT_SHARE]
            rows.amount[of] = to_cents(rows.amount[of] * COMPROMISED_AMOUNT_FACTOR)
            rows.scenario[of] = SCENARIOS.index("compromised_customer")
        added = [
            self._card_testing(rng, self._events(rng, "card_testing"), day),
            self._account_takeover(rng, self._events(rng, "account_takeover"), day),
            self._impossible_travel(rng, self._events(rng, "impossible_travel"), rows),
        ]
        return concatenate([rows, *added])

    def _active(self, name: str) -> IntArray:
        return np.concatenate([begun for _, begun in self._ends[name]])

    def _events(self, rng: np.random.Generator, name: str) -> int:
        return int(rng.poisson(self._per_day.get(name, 0.0)))

    def _attacker(self, rng: np.random.Generator, events: int) -> tuple[IntArray, IntArray]:
        """A fresh device and an address for each event; the address may be of any region."""
        device = ATTACKER_DEVICE + self._attackers + np.arange(events)
        self._attackers += events
        region = rng.integers(0, len(region_distance_km()), events)
        return device, region * ADDRESSES + rng.integers(MOBILE_ADDRESSES, ADDRESSES, events)

    def _online(
        self, name: str, time_ms: IntArray, customer: IntArray, merchant: IntArray, attacker: tuple[IntArray, IntArray]
    ) -> Rows:
        """Online rows of a scenario with the customer's usual amounts still to be set."""
        n = len(time_ms)
        return Rows(
            time_ms, customer, customer.copy(), merchant, np.full(n, NONE, np.int64), np.zeros(n),
            attacker[1], attacker[0], np.full(n, SCENARIOS.index(name), np.int8),
        )  # fmt: skip

    def _card_testing(self, rng: np.random.Generator, testers: int, day: int) -> Rows:
        world = self.world
        device, address = self._attacker(rng, testers)
        tester = np.repeat(np.arange(testers), CARDS_PER_TESTER)
        bursts = len(tester)
        start = np.repeat(rng.integers(0, DAY_MS, testers), CARDS_PER_TESTER)
        start += np.tile(np.arange(CARDS_PER_TESTER) * 10 * MINUTE_MS, testers)
        victim = rng.integers(0, len(world.customer_region), bursts)
        tests = rng.integers(TESTS_MIN, TESTS_MAX + 1, bursts)
        burst = np.repeat(np.arange(bursts), tests + 1)  # the last of a burst is the large payment
        last = np.zeros(len(burst), np.bool_)
        last[np.cumsum(tests + 1) - 1] = True
        gap = np.where(
            last, rng.integers(MINUTE_MS, 10 * MINUTE_MS, len(burst)), rng.integers(5_000, 40_000, len(burst))
        )
        elapsed = np.cumsum(gap)
        elapsed -= np.repeat(elapsed[np.cumsum(tests + 1) - tests - 1], tests + 1)
        rows = self._online(
            "card_testing",
            day * DAY_MS + start[burst] + elapsed,
            victim[burst],
            world.online[rng.integers(0, len(world.online), len(burst))],
            (device[tester[burst]], address[tester[burst]]),
        )
        scale = world.options.amount_scale
        large = world.customer_amount_mean[rows.customer] * rng.uniform(4, 10, len(burst))
        rows.amount = to_cents(np.where(last, large, rng.uniform(0.2, 2.0, len(burst)) * scale))
        large_follows = rng.random(bursts) < LARGE_AFTER_TESTS
        kept: IntArray = np.flatnonzero(~last | large_follows[burst])
        return rows.take(kept)

    def _account_takeover(self, rng: np.random.Generator, events: int, day: int) -> Rows:
        world = self.world
        device, address = self._attacker(rng, events)
        victim = rng.integers(0, len(world.customer_region), events)
        payments = rng.integers(TAKEOVER_MIN, TAKEOVER_MAX + 1, events)
        event = np.repeat(np.arange(events), payments)
        start = rng.integers(30 * MINUTE_MS, 270 * MINUTE_MS, events)  # between half past midnight and half past four
        gap = np.cumsum(rng.integers(2 * MINUTE_MS, 20 * MINUTE_MS, len(event)))
        gap -= np.repeat(gap[np.cumsum(payments) - payments], payments)
        home = world.customer_region[victim][event]
        tried = world.online[rng.integers(0, len(world.online), (len(event), TRIES))]
        abroad = (world.merchant_region[tried] != home[:, None]).argmax(axis=1)
        rows = self._online(
            "account_takeover",
            day * DAY_MS + start[event] + gap,
            victim[event],
            tried[np.arange(len(event)), abroad],
            (device[event], address[event]),
        )
        # Unusual for a small spender and for a large one: a multiple of the own mean plus a part of the largest mean.
        floor = AMOUNT_MEAN_MAX * world.options.amount_scale
        rows.amount = to_cents(
            world.customer_amount_mean[rows.customer] * rng.uniform(1, 4, len(event))
            + floor * rng.uniform(0.5, 2, len(event))
        )
        return rows

    def _impossible_travel(self, rng: np.random.Generator, events: int, rows: Rows) -> Rows:
        world = self.world
        honest = np.flatnonzero((rows.terminal != NONE) & (rows.scenario == 0))
        base = rows.take(honest[rng.integers(0, len(honest), events if len(honest) else 0)])
        here = world.terminal_region[base.terminal]
        tried = rng.integers(0, len(world.terminal_region), (len(base), TRIES))
        far = region_distance_km()[here[:, None], world.terminal_region[tried]] > TRAVEL_KM_MIN
        found: IntArray = np.flatnonzero(far.any(axis=1))
        base, tried, far = base.take(found), tried[found], far[found]
        terminal = tried[np.arange(len(base)), far.argmax(axis=1)]
        base.time_ms = base.time_ms + rng.integers(10 * MINUTE_MS, 60 * MINUTE_MS, len(base))
        base.terminal, base.merchant = terminal, world.terminal_merchant[terminal]
        base.amount = to_cents(world.customer_amount_mean[base.customer] * rng.uniform(1, 4, len(base)))
        base.scenario = np.full(len(base), SCENARIOS.index("impossible_travel"), np.int8)
        return base
