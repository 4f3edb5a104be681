"""The simulation: a seeded world lived through day by day, in event-time order.

Law: the same `SimulatorOptions` give the same stream of bytes (for one version of numpy, whose generators may change
between releases), however it is cut into batches, paced or published.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from producers.encoding import Batch, Encoder
from producers.genuine import DAY_MS, TRIP_DAYS_MAX, Trips, genuine_day
from producers.rows import SCENARIOS, Rows, concatenate, empty
from producers.scenarios import TERMINAL_DAYS, Fraud
from producers.world import World, WorldOptions, build_world

BATCH_ROWS = 10_000
ALL_SCENARIOS = frozenset(SCENARIOS[1:])
# Streams of random numbers, one a purpose and day, so that one option does not shift another's draws.
_TRIPS, _GENUINE, _COMPROMISES, _FRAUD, _LABELS = range(1, 6)
_DAY_SHIFT = 1_000  # seeds must not be negative; days before the start are


@dataclass(frozen=True, slots=True)
class SimulatorOptions:
    """What is simulated. `days` 0 never ends; `start_ms` is a midnight, UTC, milliseconds since the epoch;
    `fraud_share` of the payments are fraud, of the chosen `scenarios`; every fraud and `label_genuine_share` of the
    rest get a label, known `label_delay_ms` (event time) after the payment; `key` is the role of the record key.
    """

    world: WorldOptions = field(default_factory=WorldOptions)
    days: int = 30
    start_ms: int = 1_735_689_600_000
    fraud_share: float = 0.01
    scenarios: frozenset[str] = ALL_SCENARIOS
    label_delay_ms: int = DAY_MS
    label_genuine_share: float = 0.0
    key: str | None = "card_id"


class Simulator:
    """Iterate `batches()` once. Raises ValueError for options out of range."""

    def __init__(self, options: SimulatorOptions) -> None:
        unknown = sorted(options.scenarios - ALL_SCENARIOS)
        if unknown:
            raise ValueError(f"expected scenarios out of {', '.join(SCENARIOS[1:])}, found {', '.join(unknown)}")
        for name in ("fraud_share", "label_genuine_share"):
            if not 0 <= getattr(options, name) <= 1:
                raise ValueError(f"expected {name} between 0 and 1, found {getattr(options, name)}")
        if options.days < 0 or options.label_delay_ms < 0:
            raise ValueError("expected days and label delay of 0 or more")
        self.options = options
        self.world: World = build_world(options.world)

    @property
    def rows_per_day(self) -> float:
        """Payments expected a day, to size a progress bar."""
        return float(self.world.customer_tx_per_day.sum()) * 0.97 * (1 + self.options.fraud_share / 2)

    def days(self) -> Iterator[Rows]:
        """Each day's rows in event-time order. What a day's fraud does after midnight comes on the next."""
        options, world = self.options, self.world
        trips = Trips.none(len(world.customer_region))
        fraud = Fraud(world, options.fraud_share, options.scenarios)
        for day in range(-TERMINAL_DAYS, 0):
            fraud.start_compromises(self._rng(_COMPROMISES, day), day)
        for day in range(-TRIP_DAYS_MAX, 0):
            trips.advance(world, self._rng(_TRIPS, day), day)
        left_over = empty()
        for day in range(options.days) if options.days else count():
            trips.advance(world, self._rng(_TRIPS, day), day)
            fraud.start_compromises(self._rng(_COMPROMISES, day), day)
            honest = genuine_day(world, trips, self._rng(_GENUINE, day), day)
            rows = concatenate([left_over, fraud.apply(self._rng(_FRAUD, day), honest, day)])
            rows = rows.take(np.argsort(rows.time_ms, kind="stable"))
            within = int(np.searchsorted(rows.time_ms, (day + 1) * DAY_MS))
            left_over = rows.take(slice(within, None))
            yield rows.take(slice(0, within))

    def batches(self, rows_max: int = BATCH_ROWS) -> Iterator[Batch]:
        """Encoded batches of at most `rows_max` rows (fewer at the end of a day), in event-time order."""
        options = self.options
        encoder = Encoder(self.world, options.start_ms, options.label_delay_ms, options.key)
        number = 0
        for day, rows in enumerate(self.days()):
            labelled = self._rng(_LABELS, day).random(len(rows)) < options.label_genuine_share
            labelled |= rows.scenario > 0
            for at in range(0, len(rows), rows_max):
                part = slice(at, at + rows_max)
                batch = encoder.encode(rows.take(part), number, labelled[part])
                number += len(batch)
                yield batch

    def _rng(self, purpose: int, day: int) -> np.random.Generator:
        return np.random.default_rng([self.options.world.seed, purpose, day + _DAY_SHIFT])
