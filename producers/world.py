"""Who pays where: customers, cards, devices, terminals and merchants of a simulation, drawn once from a seed.

Law: a world is a pure function of its `WorldOptions`.

Customers, terminals, the radius and the spending profiles follow the Fraud Detection Handbook (Le Borgne, Siblini,
Lebichot, Bontempi, 2022, chapter 3): places uniform on a grid of 100 × 100, terminals within 5 of the home, mean amount
uniform in 5–100, standard deviation half of it, mean payments a day uniform in 0–4. Added: regions of several countries
(one grid each, 1 unit = 1 km), cards, devices, addresses, merchants with a category, online merchants.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

GRID_KM = 100.0
RADIUS_KM = 5.0
AMOUNT_MEAN_MIN, AMOUNT_MEAN_MAX = 5.0, 100.0
TX_PER_DAY_MAX = 4.0
TERMINALS_NEAR_MAX = 64  # per customer, so that a million customers fit in memory
SECOND_CARD_SHARE = 0.2
ONLINE_MERCHANT_SHARE = 0.3
KM_PER_DEGREE = 111.195
CUSTOMERS_PER_CHUNK = 2_000


@dataclass(frozen=True, slots=True)
class Region:
    """One country's grid around one city; `weight` is its share of customers, terminals and merchants."""

    country: str
    currency: str
    latitude: float
    longitude: float
    weight: float


REGIONS = (
    Region("FR", "EUR", 48.86, 2.35, 0.20),
    Region("DE", "EUR", 52.52, 13.40, 0.20),
    Region("ES", "EUR", 40.42, -3.70, 0.12),
    Region("IT", "EUR", 45.46, 9.19, 0.12),
    Region("NL", "EUR", 52.37, 4.90, 0.08),
    Region("GB", "GBP", 51.51, -0.13, 0.12),
    Region("US", "USD", 40.71, -74.01, 0.10),
    Region("BR", "USD", -23.55, -46.63, 0.02),
    Region("SG", "USD", 1.35, 103.82, 0.01),
    Region("AU", "USD", -33.87, 151.21, 0.01),
    Region("ZA", "USD", -26.20, 28.05, 0.01),
    Region("AE", "USD", 25.20, 55.27, 0.01),
)
# ISO 18245: groceries, restaurants, fast food, fuel, pharmacies, clothing, electronics, hotels, cash machines.
SHOP_MCC = ("5411", "5812", "5814", "5541", "5912", "5651", "5732", "7011", "6011")
# Digital goods, games, streaming, catalogue, computers, airlines, charities.
ONLINE_MCC = ("5815", "5816", "4899", "5964", "5045", "4511", "8398")


@dataclass(frozen=True, slots=True)
class WorldOptions:
    """Sizes and scale of a world. `amount_scale` multiplies the handbook's amounts, which are in units of currency."""

    customers: int = 5_000
    terminals: int = 10_000
    merchants: int = 2_000
    amount_scale: float = 1.0
    seed: int = 42


@dataclass(frozen=True, slots=True)
class World:
    """The drawn world. Shapes: `customer_*` (customers,), `terminal_*` (terminals,), `merchant_*` (merchants,).

    `region` values index REGIONS; places are in degrees. Customer *c* has the cards `c` and, where `second_card[c]` is
    not −1, that one. The terminals near customer *c* are `near[near_start[c]:near_start[c + 1]]`, never empty.
    `online[online_start[r]:online_start[r + 1]]` are the online merchants of region *r*, never empty.
    """

    options: WorldOptions
    customer_region: IntArray
    customer_amount_mean: FloatArray
    customer_tx_per_day: FloatArray
    customer_online_share: FloatArray
    second_card: IntArray
    card_count: int
    terminal_region: IntArray
    terminal_latitude: FloatArray
    terminal_longitude: FloatArray
    terminal_merchant: IntArray
    merchant_region: IntArray
    merchant_mcc: IntArray
    near: IntArray
    near_start: IntArray
    online: IntArray
    online_start: IntArray

    @property
    def amount_large(self) -> float:
        """Scenario 1 of the handbook: 220 where the largest mean amount is 100, and in proportion elsewhere."""
        return 2.2 * AMOUNT_MEAN_MAX * self.options.amount_scale


MCC = SHOP_MCC + ONLINE_MCC


def build_world(options: WorldOptions) -> World:
    """Draw a world. Raises ValueError where a size is not positive."""
    for name in ("customers", "terminals", "merchants", "amount_scale"):
        if not getattr(options, name) > 0:
            raise ValueError(f"expected {name} above 0, found {getattr(options, name)}")
    rng = np.random.default_rng([options.seed, 0])
    weights = np.array([region.weight for region in REGIONS])
    weights /= weights.sum()
    customer_region = rng.choice(len(REGIONS), options.customers, p=weights)
    terminal_region = np.sort(rng.choice(len(REGIONS), options.terminals, p=weights))
    terminal_place = rng.uniform(0, GRID_KM, (options.terminals, 2))
    merchant_region, is_online = _draw_merchants(rng, options.merchants, weights)
    near, near_start = _terminals_near(
        customer_region, rng.uniform(0, GRID_KM, (options.customers, 2)), terminal_region, terminal_place
    )
    latitude, longitude = _degrees(terminal_region, terminal_place)
    has_second = rng.random(options.customers) < SECOND_CARD_SHARE
    second_card = np.where(has_second, options.customers + np.cumsum(has_second) - 1, -1)
    online, online_start = _by_region(np.flatnonzero(is_online), merchant_region)
    mean = rng.uniform(AMOUNT_MEAN_MIN, AMOUNT_MEAN_MAX, options.customers) * options.amount_scale
    return World(
        options=options,
        customer_region=customer_region,
        customer_amount_mean=mean,
        customer_tx_per_day=rng.uniform(0, TX_PER_DAY_MAX, options.customers),
        customer_online_share=rng.uniform(0.1, 0.5, options.customers),
        second_card=second_card,
        card_count=options.customers + int(has_second.sum()),
        terminal_region=terminal_region,
        terminal_latitude=latitude,
        terminal_longitude=longitude,
        terminal_merchant=_terminal_merchants(rng, terminal_region, merchant_region, is_online),
        merchant_region=merchant_region,
        merchant_mcc=np.where(
            is_online,
            len(SHOP_MCC) + rng.integers(0, len(ONLINE_MCC), options.merchants),
            rng.integers(0, len(SHOP_MCC), options.merchants),
        ),
        near=near,
        near_start=near_start,
        online=online,
        online_start=online_start,
    )


def _draw_merchants(rng: np.random.Generator, count: int, weights: FloatArray) -> tuple[IntArray, NDArray[np.bool_]]:
    region = rng.choice(len(REGIONS), count, p=weights)
    is_online = rng.random(count) < ONLINE_MERCHANT_SHARE
    is_online[0] = True  # there is always somebody to buy from
    return region, is_online


def _by_region(members: IntArray, region: IntArray) -> tuple[IntArray, IntArray]:
    """Members grouped by region, and where each group starts; a region without any borrows all of them."""
    groups = [members[region[members] == index] for index in range(len(REGIONS))]
    groups = [group if len(group) else members for group in groups]
    return np.concatenate(groups), np.concatenate([[0], np.cumsum([len(group) for group in groups])])


def _terminal_merchants(
    rng: np.random.Generator, terminal_region: IntArray, merchant_region: IntArray, is_online: NDArray[np.bool_]
) -> IntArray:
    shops = np.flatnonzero(~is_online)
    grouped, start = _by_region(shops if len(shops) else np.arange(len(merchant_region)), merchant_region)
    low, high = start[terminal_region], start[terminal_region + 1]
    return grouped[low + (rng.random(len(terminal_region)) * (high - low)).astype(np.int64)]


def _degrees(region: IntArray, place_km: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Grid places to latitude and longitude, rounded to 1e-5 degrees (about a metre)."""
    centre = np.array([(entry.latitude, entry.longitude) for entry in REGIONS])[region]
    latitude = centre[:, 0] + (place_km[:, 1] - GRID_KM / 2) / KM_PER_DEGREE
    longitude = centre[:, 1] + (place_km[:, 0] - GRID_KM / 2) / (KM_PER_DEGREE * np.cos(np.radians(centre[:, 0])))
    return np.round(latitude, 5), np.round(longitude, 5)


def _terminals_near(
    customer_region: IntArray, home_km: FloatArray, terminal_region: IntArray, terminal_km: FloatArray
) -> tuple[IntArray, IntArray]:
    """Terminals of the own region within the radius of each home (at most TERMINALS_NEAR_MAX, by rotation, so that all
    stay equally popular); the nearest one where there is none.
    """
    count = np.zeros(len(customer_region), np.int64)
    chunks: list[tuple[IntArray, IntArray]] = []
    for region in range(len(REGIONS)):
        terminals = np.flatnonzero(terminal_region == region)
        if not len(terminals):
            terminals = np.arange(len(terminal_region))
        customers = np.flatnonzero(customer_region == region)
        customers = customers[np.argsort(home_km[customers, 0], kind="stable")]
        for at in range(0, len(customers), CUSTOMERS_PER_CHUNK):
            chunk = customers[at : at + CUSTOMERS_PER_CHUNK]
            x = home_km[chunk, 0]
            # Sorted by x, a chunk is a strip: only the terminals of a slightly wider strip can be near.
            strip = np.abs(terminal_km[terminals, 0] - (x[0] + x[-1]) / 2) < (x[-1] - x[0]) / 2 + RADIUS_KM
            candidates = terminals[strip] if strip.any() else terminals
            within = _squared_km(home_km[chunk], terminal_km[candidates]) < RADIUS_KM**2
            rank = np.cumsum(within, axis=1) - 1
            total = within.sum(axis=1)
            within &= (rank - chunk[:, None]) % np.maximum(total, 1)[:, None] < TERMINALS_NEAR_MAX
            row, column = np.nonzero(within)
            alone = np.flatnonzero(total == 0)
            nearest = [int(_squared_km(home_km[[chunk[at]]], terminal_km[terminals]).argmin()) for at in alone]
            count[chunk] = np.clip(total, 1, TERMINALS_NEAR_MAX)
            chunks.append((chunk[row], candidates[column]))
            chunks.append((chunk[alone], terminals[np.array(nearest, np.int64)]))
    owner = np.concatenate([chunk[0] for chunk in chunks])
    near = np.concatenate([chunk[1] for chunk in chunks])
    return near[np.argsort(owner, kind="stable")], np.concatenate([[0], np.cumsum(count)])


def _squared_km(homes: FloatArray, terminals: FloatArray) -> FloatArray:
    """Squared distances, shape (homes, terminals)."""
    squared: FloatArray = (homes[:, :1] - terminals[:, 0]) ** 2 + (homes[:, 1:] - terminals[:, 1]) ** 2
    return squared


def region_distance_km() -> FloatArray:
    """Great-circle distances between the regions' centres, shape (regions, regions), kilometres (haversine)."""
    latitude = np.radians([region.latitude for region in REGIONS])
    longitude = np.radians([region.longitude for region in REGIONS])
    half = (
        np.sin((latitude[:, None] - latitude) / 2) ** 2
        + np.cos(latitude[:, None]) * np.cos(latitude) * np.sin((longitude[:, None] - longitude) / 2) ** 2
    )
    distance: FloatArray = 2 * 6371.0 * np.arcsin(np.sqrt(np.clip(half, 0, 1)))
    return distance


def share_above_large(world: World) -> float:
    """Share of genuine payments expected above `amount_large`: the normal tail of each profile, by payments a day."""
    mean = world.customer_amount_mean
    relevant = np.flatnonzero(mean > 0.4 * AMOUNT_MEAN_MAX * world.options.amount_scale)
    tail = [0.5 * math.erfc((world.amount_large - m) / (m / 2) / math.sqrt(2)) for m in mean[relevant].tolist()]
    per_day = world.customer_tx_per_day
    return float(np.dot(tail, per_day[relevant]) / max(per_day.sum(), 1e-9)) if len(relevant) else 0.0
