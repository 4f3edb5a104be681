"""What honest customers do in a day: payments after the Fraud Detection Handbook, and trips abroad.

Law: day *d* depends on the world, its seed and the days before it, never on how the output is cut or paced.

The handbook's day: payments Poisson with the customer's rate; times normal around noon (standard deviation 20,000 s),
those outside of the day dropped; amounts normal, redrawn uniform in 0–2 × mean where negative; a terminal near home.
Added: a share of payments online (device and address, no terminal), now and then a trip: its payments happen near a
host's home in another region, and nothing at a terminal on the days of travel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from producers.rows import NONE, Rows
from producers.world import FloatArray, IntArray, World

DAY_MS = 86_400_000
NOON_MS, TIME_DEVIATION_MS = 43_200_000, 20_000_000
ONLINE_ABROAD_SHARE = 0.1
MOBILE_ADDRESS_SHARE = 0.2
MOBILE_ADDRESSES = 512  # shared by all customers of a region, as behind a carrier's address translation
SECOND_DEVICE_SHARE = 0.15
SECOND_CARD_USE = 0.3
DEVICE_LIFE_DAYS = 700
TRIP_SHARE_PER_DAY = 0.002
TRIP_DAYS_MIN, TRIP_DAYS_MAX = 3, 14
ADDRESSES = 65_536  # per region
AMOUNT_MIN = 0.01


@dataclass(slots=True)
class Trips:
    """Who is away: `host` (customers,) is the customer near whose home they stay, NONE at home."""

    host: IntArray
    first_day: IntArray
    last_day: IntArray

    @classmethod
    def none(cls, customers: int) -> Trips:
        """Everybody at home."""
        return cls(*(np.full(customers, NONE, np.int64) for _ in range(3)))

    def advance(self, world: World, rng: np.random.Generator, day: int) -> None:
        """Come home after the last day; some leave."""
        customers = len(self.host)
        self.host[self.last_day < day] = NONE
        leaving = np.flatnonzero(rng.random(customers) < TRIP_SHARE_PER_DAY)
        host = rng.integers(0, customers, len(leaving))
        days = rng.integers(TRIP_DAYS_MIN, TRIP_DAYS_MAX + 1, len(leaving))
        goes = (self.host[leaving] == NONE) & (world.customer_region[host] != world.customer_region[leaving])
        leaving = leaving[goes]
        self.host[leaving] = host[goes]
        self.first_day[leaving] = day
        self.last_day[leaving] = day + days[goes] - 1


def genuine_day(world: World, trips: Trips, rng: np.random.Generator, day: int) -> Rows:
    """All honest payments of one day, unordered. `day` counts from the start; may be negative before it."""
    customer = np.repeat(np.arange(len(world.customer_region)), rng.poisson(world.customer_tx_per_day))
    within_day = rng.normal(NOON_MS, TIME_DEVIATION_MS, len(customer))
    kept = (within_day > 0) & (within_day < DAY_MS)
    customer, time_ms = customer[kept], day * DAY_MS + within_day[kept].astype(np.int64)
    n = len(customer)
    host = trips.host[customer]
    place = np.where(host == NONE, customer, host)
    travels = (host != NONE) & ((trips.first_day[customer] == day) | (trips.last_day[customer] == day))
    online = (rng.random(n) < world.customer_online_share[customer]) | travels
    terminal = pick(rng, world.near, world.near_start, place)
    second = world.second_card[customer]
    return Rows(
        time_ms=time_ms,
        customer=customer,
        card=np.where((second != NONE) & (rng.random(n) < SECOND_CARD_USE), second, customer),
        merchant=np.where(online, online_merchant(world, rng, customer), world.terminal_merchant[terminal]),
        terminal=np.where(online, NONE, terminal),
        amount=profile_amount(rng, world.customer_amount_mean[customer]),
        ip=np.where(online, _address(world, rng, customer, place), NONE),
        device=np.where(online, _device(rng, customer, day), NONE),
        scenario=np.zeros(n, np.int8),
    )


def pick(rng: np.random.Generator, members: IntArray, start: IntArray, group: IntArray) -> IntArray:
    """One uniform member of each row's group, where group *g* is `members[start[g]:start[g + 1]]`."""
    low = start[group]
    return members[low + (rng.random(len(group)) * (start[group + 1] - low)).astype(np.int64)]


def profile_amount(rng: np.random.Generator, mean: FloatArray) -> FloatArray:
    """The handbook's amounts: normal(mean, mean / 2), where negative uniform in 0–2 × mean; two decimals."""
    amount = rng.normal(mean, mean / 2)
    amount = np.where(amount < 0, rng.uniform(0, 2 * mean), amount)
    return to_cents(amount)


def to_cents(amount: FloatArray) -> FloatArray:
    """Two decimals, at least one cent."""
    rounded: FloatArray = np.round(amount, 2)
    return np.maximum(rounded, AMOUNT_MIN)


def online_merchant(world: World, rng: np.random.Generator, customer: IntArray) -> IntArray:
    """Mostly of the own region, popular ones much more often (rank of a squared uniform)."""
    region = world.customer_region[customer]
    abroad = rng.random(len(customer)) < ONLINE_ABROAD_SHARE
    low = np.where(abroad, 0, world.online_start[region])
    high = np.where(abroad, len(world.online), world.online_start[region + 1])
    rank: FloatArray = rng.random(len(customer)) ** 2
    at: IntArray = low + (rank * (high - low)).astype(np.int64)
    return world.online[at]


def _address(world: World, rng: np.random.Generator, customer: IntArray, place: IntArray) -> IntArray:
    """Code region × 65,536 + host: a fixed address for each home (and each stay), or a shared mobile one."""
    fixed = MOBILE_ADDRESSES + (customer * 31 + place * 17) % (ADDRESSES - MOBILE_ADDRESSES)
    mobile = rng.integers(0, MOBILE_ADDRESSES, len(customer))
    host = np.where(rng.random(len(customer)) < MOBILE_ADDRESS_SHARE, mobile, fixed)
    return world.customer_region[place] * ADDRESSES + host


def _device(rng: np.random.Generator, customer: IntArray, day: int) -> IntArray:
    """Code of the customer's phone, or tablet; both are replaced every DEVICE_LIFE_DAYS."""
    generation = (day + DEVICE_LIFE_DAYS + customer * 37 % DEVICE_LIFE_DAYS) // DEVICE_LIFE_DAYS % 32
    return (customer * 32 + generation) * 2 + (rng.random(len(customer)) < SECOND_DEVICE_SHARE)
