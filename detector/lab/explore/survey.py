"""Two passes over a table: the first measures, the second looks at every row by what was measured.

Exact over all rows: counts, missing values, duplicates, moments, correlations, value counts, time, classes, entities
(up to `entities.ENTITIES_MAX`), numbers of outliers. From a seeded sample of SAMPLE_ROWS rows, drawn by row number:
quantiles and the pictures of single values. A table of no more rows is its own sample, and everything is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detector.lab.explore.clock import Clock
from detector.lab.explore.entities import Entities
from detector.lab.explore.numbers import Moments
from detector.lab.explore.outliers import Outliers, rules
from detector.lab.explore.samples import Hashes, Repeats, Sample, hashes, joined
from detector.lab.explore.words import Words
from detector.lab.progress import Display
from detector.lab.roles import Roles
from detector.lab.tables import Table, as_text

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK_ROWS, CHUNK_ROWS_MIN, CHUNK_VALUES = 65_536, 1_024, 1 << 23
SAMPLE_ROWS, SAMPLE_ROWS_MIN, SAMPLE_VALUES = 65_536, 4_096, 1 << 23
FRAUDS_MAX = 20_000
REPEATS_SHOWN = 200
BUSIEST, EXAMPLES, EXAMPLE_ROWS_MIN, EXAMPLE_ROWS_MAX = 20, 8, 5, 4_000
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
ID_ROLES = ("transaction_id", "card", "customer", "merchant", "terminal", "device", "ip", "mcc")
PLACE_ROLES = ("merchant", "terminal", "country", "device", "ip")
ENTITY_ROLES = ("card", "customer", "merchant", "terminal", "device")
Floats = NDArray[np.float64]


@dataclass(slots=True)
class Survey:
    """What was found. `numbers`: columns that are numbers and no ids; `text`: all others' values by column.

    `sample`, its `values` (rows, f) and `sample_row`; `frauds`, rows that are labelled fraud, and their values;
    `quantiles` (len(QUANTILES), f); `repeats`: what → (rows that repeat, distinct, examples); `truth`: rows that are
    genuine, fraud, unlabelled; `names`: role → hash → name of the busiest entities;
    `examples`: name → (ms, amount, fraud) of a few owners' rows.
    """

    table: Table
    roles: Roles
    numbers: tuple[str, ...]
    words: dict[str, Words]
    rows: int = 0
    missing: dict[str, int] = field(default_factory=dict)
    moments: Moments = field(default_factory=lambda: Moments(0))
    clock: Clock = field(default_factory=Clock)
    entities: dict[str, Entities] = field(default_factory=dict)
    repeats: dict[str, tuple[int, int, list[tuple[int, int]]]] = field(default_factory=dict)
    truth: tuple[int, int, int] = (0, 0, 0)
    sample: Any = None
    sample_row: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    values: Floats = field(default_factory=lambda: np.empty((0, 0)))
    frauds: Any = None
    fraud_values: Floats = field(default_factory=lambda: np.empty((0, 0)))
    quantiles: Floats = field(default_factory=lambda: np.empty((0, 0)))
    outliers: Outliers | None = None
    names: dict[str, dict[int, str]] = field(default_factory=dict)
    examples: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def measured(self) -> tuple[str, ...]:
        """What `moments` hold: the numbers, and last the label as 0 and 1, where there is one."""
        return (*self.numbers, self.roles.label) if self.roles.label else self.numbers

    @property
    def sample_rows(self) -> int:
        """How many are drawn at most: fewer of a wide table, so that it takes no more memory than a narrow one."""
        return max(SAMPLE_ROWS_MIN, min(SAMPLE_ROWS, SAMPLE_VALUES // max(1, len(self.table.columns))))

    @property
    def whole(self) -> bool:
        """Whether the sample is all of it."""
        return self.rows <= self.sample_rows

    @property
    def owner(self) -> str | None:
        """card or customer, whichever the money belongs to."""
        return "card" if self.roles.card else "customer" if self.roles.customer else None


def chunk_rows(columns: int) -> int:
    """Of so many columns, so that a wide table takes no more memory than a narrow one."""
    return max(CHUNK_ROWS_MIN, min(CHUNK_ROWS, CHUNK_VALUES // max(1, columns)))


def survey(table: Table, roles: Roles, k: float, fence: float, display: Display | None = None) -> Survey:
    """Reads `table` twice. Raises InputStopped."""
    display = display or Display(None)
    first = _First(table, roles)
    for chunk in table.chunks(chunk_rows(len(table.columns))):
        first.add(chunk)
        display.update(first.found.rows)
    found = first.finish()
    _second(found, k, fence, lambda rows: display.update(found.rows + rows))
    return found


def matrix(chunk: pa.Table, columns: tuple[str, ...]) -> Floats:
    """Columns of numbers as (n, f) float64, NaN where missing."""
    import pyarrow as pa

    found = np.empty((chunk.num_rows, len(columns)), order="F")
    for place, name in enumerate(columns):
        found[:, place] = chunk.column(name).cast(pa.float64()).to_numpy()
    return found


def amounts(chunk: pa.Table, roles: Roles) -> Floats:
    """The rows' amounts, NaN where there is none."""
    return matrix(chunk, (roles.amount,))[:, 0] if roles.amount else np.full(chunk.num_rows, np.nan)


class _First:
    """The first pass."""

    def __init__(self, table: Table, roles: Roles) -> None:
        ids = {getattr(roles, role) for role in (*ID_ROLES, "event_time", "label")} | roles.secrets
        numbers = tuple(name for name, kind in table.columns.items() if kind == "number" and name not in ids)
        text = [
            name for name, kind in table.columns.items()
            if name not in numbers and kind != "time" and name not in (roles.event_time, roles.label)
        ]  # fmt: skip
        self.found = Survey(table, roles, numbers, {name: Words() for name in text})
        if roles.transaction_id:
            self.found.words[roles.transaction_id].values = None
        self.found.missing = dict.fromkeys(table.columns, 0)
        self.found.moments = Moments(len(self.found.measured))
        self._places = {role: column for role in PLACE_ROLES if (column := getattr(roles, role)) is not None}
        for role in ENTITY_ROLES:
            if getattr(roles, role) is not None:
                own = role == self.found.owner
                self.found.entities[role] = Entities(tuple(self._places) if own else ())
        self._sample, self._frauds = Sample(self.found.sample_rows), Sample(FRAUDS_MAX)
        self._repeats = {"whole rows": Repeats()}
        if roles.transaction_id:
            self._repeats |= {"ids": Repeats(), "rows but for the id": Repeats()}
        self._truth = np.zeros(3, np.int64)

    def add(self, chunk: pa.Table) -> None:
        found, roles = self.found, self.found.roles
        for name in chunk.column_names:
            found.missing[name] += chunk.column(name).null_count
        truth = roles.truths(chunk) if roles.label else None
        fraud = truth == 1 if truth is not None else np.zeros(chunk.num_rows, np.bool_)
        if truth is not None:
            self._truth += np.bincount(np.where(truth < 0, 2, truth), minlength=3)
        hashed = {name: hashes(chunk.column(name)) for name in chunk.column_names}
        self._repeated(hashed)
        values = matrix(chunk, found.numbers)
        if truth is not None:
            values = np.column_stack([values, np.where(truth < 0, np.nan, truth)])
        found.moments.add(values)
        for name, words in found.words.items():
            words.add(chunk.column(name), truth)
        self._entities(chunk, hashed, fraud)
        self._sample.add(chunk, found.rows)
        if truth is not None:
            self._frauds.add(chunk, found.rows, fraud)
        found.rows += chunk.num_rows

    def _repeated(self, hashed: dict[str, Hashes]) -> None:
        identity = self.found.roles.transaction_id
        self._repeats["whole rows"].add(joined(list(hashed.values())))
        if identity is not None:
            self._repeats["ids"].add(hashed[identity])
            others = [column for name, column in hashed.items() if name != identity]
            self._repeats["rows but for the id"].add(joined(others or [hashed[identity]]))

    def _entities(self, chunk: pa.Table, hashed: dict[str, Hashes], fraud: NDArray[np.bool_]) -> None:
        found, roles = self.found, self.found.roles
        amount = amounts(chunk, roles)
        time_ms = None
        if roles.event_time is not None:
            time_ms, there = roles.times(chunk)
            found.clock.add(time_ms[there], amount[there], fraud[there])
            time_ms = np.where(there, time_ms, -1)
        places = {role: hashed[column] for role, column in self._places.items()}
        for role, entities in found.entities.items():
            entities.add(hashed[getattr(roles, role)], time_ms, amount, fraud, places)

    def finish(self) -> Survey:
        found = self.found
        found.truth = (int(self._truth[0]), int(self._truth[1]), int(self._truth[2]))
        found.sample, found.sample_row = self._sample.finish()
        found.frauds, _ = self._frauds.finish()
        found.values = matrix(found.sample, found.numbers)
        found.fraud_values = matrix(found.frauds, found.numbers) if found.frauds is not None else found.values[:0]
        found.quantiles = np.full((len(QUANTILES), len(found.numbers)), np.nan)
        for place in range(len(found.numbers)):
            some = found.values[:, place]
            some = some[~np.isnan(some)]
            if len(some):
                found.quantiles[:, place] = np.quantile(some, QUANTILES)
        found.repeats = {what: repeats.finish(REPEATS_SHOWN) for what, repeats in self._repeats.items()}
        found.roles = self._refined()
        return found

    def _refined(self) -> Roles:
        """What the sample could not know: the least amount, and how far all rows are from being in order."""
        found, roles = self.found, self.found.roles
        least, disorder, per_day = roles.amount_min, roles.disorder_ms, roles.rows_per_day
        if roles.amount in found.numbers and found.moments.count[found.numbers.index(roles.amount)]:
            least = min(0.0, float(found.moments.least[found.numbers.index(roles.amount)]))
        if found.clock.rows:
            disorder = max(disorder, found.clock.behind_ms)
            per_day = found.clock.rows / max(1.0, (found.clock.last_ms - found.clock.first_ms) / 86_400_000)
        return replace(roles, amount_min=least, disorder_ms=disorder, rows_per_day=per_day)


def _second(found: Survey, k: float, fence: float, told: Callable[[int], None]) -> None:
    roles, moments, count = found.roles, found.moments, len(found.numbers)
    quartiles = found.quantiles[[QUANTILES.index(0.25), QUANTILES.index(0.75)]]
    both = rules(moments.mean[:count], moments.deviation[:count], quartiles[0], quartiles[1], k, fence)
    found.outliers = Outliers(both, count)
    names, examples = _Names(found), _Examples(found)
    wanted = [*found.numbers, roles.transaction_id, roles.label, *names.columns.values(), *examples.columns]
    done = 0
    read = [name for name in dict.fromkeys(wanted) if name is not None]
    for chunk in found.table.chunks(chunk_rows(len(read)), read):
        fraud = roles.truths(chunk) == 1 if roles.label else np.zeros(chunk.num_rows, np.bool_)
        ids = as_text(chunk.column(roles.transaction_id).combine_chunks()) if roles.transaction_id else None
        found.outliers.add(matrix(chunk, found.numbers), done, fraud, _naming(ids))
        names.add(chunk)
        examples.add(chunk, fraud)
        done += chunk.num_rows
        told(done)
    found.names = names.found
    found.examples = examples.finish(names.found)


def _naming(ids: pa.Array | None) -> Callable[[int], str]:
    return lambda row: (ids[row].as_py() or "") if ids is not None else ""


class _Names:
    """What the busiest entities of each kind are called: `found[role]` hash → name."""

    def __init__(self, found: Survey) -> None:
        self.columns = {role: getattr(found.roles, role) for role in found.entities}
        self.found: dict[str, dict[int, str]] = {role: {} for role in found.entities}
        self._lack = {role: set(busiest(entities) | _middle(entities)) for role, entities in found.entities.items()}
        self.add(found.sample)
        self.columns = {role: column for role, column in self.columns.items() if self._lack[role]}

    def add(self, chunk: pa.Table) -> None:
        """Names that are still not known and stand in these rows."""
        for role, column in self.columns.items():
            if not self._lack[role]:
                continue
            keys = hashes(chunk.column(column))
            rows = np.flatnonzero(np.isin(keys, np.array(list(self._lack[role]), np.uint64)))
            texts = as_text(chunk.column(column).combine_chunks().take(rows)).to_pylist()
            self.found[role] |= dict(zip(keys[rows].tolist(), texts, strict=True))
            self._lack[role] -= self.found[role].keys()


class _Examples:
    """All rows of a few owners: half of them the busiest, the others from the middle."""

    def __init__(self, found: Survey) -> None:
        roles, self._roles = found.roles, found.roles
        self._column: str | None = getattr(roles, found.owner) if found.owner else None
        self._role = found.owner or ""
        self._rows: dict[int, list[Floats]] = {}
        if self._column is not None and roles.event_time and roles.amount:
            entities = found.entities[self._role]
            first = list(busiest(entities))[: EXAMPLES // 2]
            self._rows = {key: [] for key in (*first, *_middle(entities))}
        self.columns = [self._column, roles.event_time, roles.amount] if self._rows else []

    def add(self, chunk: pa.Table, fraud: NDArray[np.bool_]) -> None:
        """The next rows."""
        if self._column is None or not self._rows:
            return
        keys = hashes(chunk.column(self._column))
        some = np.flatnonzero(np.isin(keys, np.array(list(self._rows), np.uint64)))
        if not len(some):
            return
        time_ms, there = self._roles.times(chunk)
        amount = amounts(chunk, self._roles)
        for key, parts in self._rows.items():
            at = some[(keys[some] == np.uint64(key)) & there[some]]
            parts.append(np.stack([time_ms[at].astype(float), amount[at], fraud[at].astype(float)], axis=1))

    def finish(self, names: dict[str, dict[int, str]]) -> dict[str, Floats]:
        """Name → its rows, those of the busiest first."""
        known = names.get(self._role, {})
        rows = {known[key]: np.concatenate(parts) for key, parts in self._rows.items() if parts and key in known}
        return {name: some[:EXAMPLE_ROWS_MAX] for name, some in rows.items() if len(some)}


def busiest(entities: Entities) -> dict[int, None]:
    """The hashes of the BUSIEST entities with most rows, in that order."""
    order = np.lexsort((entities.hash, -entities.rows))[:BUSIEST]
    return dict.fromkeys(entities.hash[order].tolist())


def _middle(entities: Entities) -> dict[int, None]:
    """A few from the middle of those with some rows."""
    ranked = np.lexsort((entities.hash, -entities.rows))
    some = ranked[entities.rows[ranked] >= EXAMPLE_ROWS_MIN]
    return dict.fromkeys(entities.hash[some[len(some) // 2 :][: EXAMPLES // 2]].tolist())
