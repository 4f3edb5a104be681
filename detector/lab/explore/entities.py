"""What each entity does: how many rows, how much, how long between two, at which hours, at how many places.

Memory is bounded: past ENTITIES_MAX entities, or PLACES_MAX pairs of entity and place, only those are followed whose
hash lies below a share, which is halved until they fit. Of an entity that is followed every row counts, so what is said
of entities is as true of the sample; `share` tells how many are followed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.lab.explore.samples import NOTHING, Hashes, scattered

ENTITIES_MAX = 500_000
PLACES_MAX = 4_000_000
GAP_EDGES_S = np.concatenate([[0.0], 10.0 ** np.arange(0, 8.01, 0.125)])
DAY_MS = 86_400_000
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Entities:
    """All entities of one kind. Per-entity results are arrays in the order in which they were first met.

    `rows`, `frauds` int64; `amount`, `square` sums over the rows with an amount, of which there are `priced`; `highest`
    amount; `first_ms`, `last_ms`; `east`, `north` sums of the hour of the day as a direction.
    """

    def __init__(self, places: tuple[str, ...], entities_max: int = ENTITIES_MAX, places_max: int = PLACES_MAX) -> None:
        self._entities_max, self._places_max = entities_max, places_max
        self.hash = np.empty(0, np.uint64)
        self.rows, self.frauds, self.priced, self.first_ms, self.last_ms = (np.empty(0, np.int64) for _ in range(5))
        self.amount, self.square, self.highest, self.east, self.north = (np.empty(0) for _ in range(5))
        self._sorted, self._slot = np.empty(0, np.uint64), np.empty(0, np.int64)
        self._halvings = 0
        self.gaps = np.zeros(len(GAP_EDGES_S) - 1, np.int64)
        self.backwards = 0
        self.places = {name: Pairs() for name in places}

    @property
    def share(self) -> float:
        """Of the entities, how many are followed."""
        return 0.5**self._halvings

    @property
    def count(self) -> int:
        """Entities there are; estimated where not all are followed."""
        return round(len(self.hash) / self.share)

    def add(
        self, entity: Hashes, time_ms: Ints | None, amount: Floats, fraud: NDArray[np.bool_], places: dict[str, Hashes]
    ) -> None:
        """The next rows. `time_ms` None where the file has no times, below 0 where the row has none."""
        kept = (entity != NOTHING) & self._followed(entity)
        slot = self._slots(entity[kept])
        if not len(slot):
            return
        known, priced = len(self.hash), ~np.isnan(amount[kept])
        price = np.nan_to_num(amount[kept])
        self.rows += np.bincount(slot, minlength=known)
        self.frauds += np.bincount(slot, fraud[kept].astype(float), known).astype(np.int64)
        self.priced += np.bincount(slot, priced.astype(float), known).astype(np.int64)
        self.amount += np.bincount(slot, price, known)
        self.square += np.bincount(slot, price * price, known)
        np.maximum.at(self.highest, slot[priced], price[priced])
        if time_ms is not None:
            timed = time_ms[kept] >= 0
            self._rhythm(slot[timed], time_ms[kept][timed])
        for name, pairs in self.places.items():
            there = places[name][kept] != NOTHING
            pairs.add(entity[kept][there], places[name][kept][there], slot[there])
        self._shrink()

    def _followed(self, entity: Hashes) -> NDArray[np.bool_]:
        if not self._halvings:
            return np.ones(len(entity), np.bool_)
        return scattered(entity) < np.uint64(2 ** (64 - self._halvings))

    def _slots(self, entity: Hashes) -> Ints:
        """Where each entity's numbers are; new ones get a place."""
        found, inverse = np.unique(entity, return_inverse=True)
        at = np.searchsorted(self._sorted, found)
        known = np.zeros(len(found), np.bool_)
        inside = at < len(self._sorted)
        known[inside] = self._sorted[at[inside]] == found[inside]
        new = found[~known]
        if len(new):
            self._grow(new)
            where = np.searchsorted(self._sorted, new)
            slots = len(self._slot) + np.arange(len(new), dtype=np.int64)
            self._sorted, self._slot = np.insert(self._sorted, where, new), np.insert(self._slot, where, slots)
        return self._slot[np.searchsorted(self._sorted, found)][inverse]

    def _grow(self, new: Hashes) -> None:
        count = len(new)
        self.hash = np.concatenate([self.hash, new])
        for name in ("rows", "frauds", "priced", "first_ms", "last_ms", "amount", "square", "highest", "east", "north"):
            old = getattr(self, name)
            fill = {"first_ms": 2**62, "last_ms": -1, "highest": -np.inf}.get(name, 0)
            setattr(self, name, np.concatenate([old, np.full(count, fill, old.dtype)]))

    def _rhythm(self, slot: Ints, time_ms: Ints) -> None:
        order = np.lexsort((time_ms, slot))
        slot, time_ms = slot[order], time_ms[order]
        if not len(slot):
            return
        first = np.append(True, slot[1:] != slot[:-1])
        before = np.append(0, time_ms[:-1])
        before[first] = self.last_ms[slot[first]]
        gap = (time_ms - before)[before >= 0]
        self.backwards += int((gap < 0).sum())
        seconds = np.minimum(gap[gap >= 0] / 1000.0, GAP_EDGES_S[-1])
        self.gaps += np.histogram(seconds, GAP_EDGES_S)[0]
        angle = (time_ms % DAY_MS) * (2 * np.pi / DAY_MS)
        known = len(self.hash)
        self.east += np.bincount(slot, np.cos(angle), known)
        self.north += np.bincount(slot, np.sin(angle), known)
        np.minimum.at(self.first_ms, slot[first], time_ms[first])
        last = np.append(first[1:], True)
        np.maximum.at(self.last_ms, slot[last], time_ms[last])

    def _shrink(self) -> None:
        """Follow half of them where there are too many."""
        while len(self.hash) > self._entities_max or any(
            len(pairs) > self._places_max for pairs in self.places.values()
        ):
            self._halvings += 1
            kept = self._followed(self.hash)
            slot = np.cumsum(kept) - 1
            for name in ("hash", "rows", "frauds", "priced", "first_ms", "last_ms",
                         "amount", "square", "highest", "east", "north"):  # fmt: skip
                setattr(self, name, getattr(self, name)[kept])
            of_sorted = kept[self._slot]
            self._sorted, self._slot = self._sorted[of_sorted], slot[self._slot[of_sorted]]
            for pairs in self.places.values():
                pairs.keep(kept, slot)

    def distinct(self, place: str) -> Ints:
        """How many different places each entity was met at."""
        return np.bincount(self.places[place].slots(), minlength=len(self.hash))


class Pairs:
    """Distinct pairs of entity and place, merged now and then so that a row costs little."""

    def __init__(self) -> None:
        self._pair, self._slot = np.empty(0, np.uint64), np.empty(0, np.int64)
        self._new: list[tuple[Hashes, Ints]] = []
        self._waiting = 0

    def __len__(self) -> int:
        return len(self._pair)

    def add(self, entity: Hashes, place: Hashes, slot: Ints) -> None:
        """Rows: the entity's hash, the place's, and the entity's slot."""
        self._new.append((scattered(scattered(entity) ^ place), slot))
        self._waiting += len(slot)
        if self._waiting > max(500_000, len(self._pair) // 2):
            self._merge()

    def _merge(self) -> None:
        pairs = np.concatenate([self._pair, *(pair for pair, _ in self._new)])
        slots = np.concatenate([self._slot, *(slot for _, slot in self._new)])
        self._pair, first = np.unique(pairs, return_index=True)
        self._slot, self._new, self._waiting = slots[first], [], 0

    def keep(self, kept: NDArray[np.bool_], slot: Ints) -> None:
        """Only entities that are kept, under their new slots."""
        self._merge()
        some = kept[self._slot]
        self._pair, self._slot = self._pair[some], slot[self._slot[some]]

    def slots(self) -> Ints:
        """The entity of each distinct pair."""
        self._merge()
        return self._slot
