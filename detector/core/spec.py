"""The frozen spec: everything that changes a decision, and nothing else.

Law (restore ≡ replay): a task's state after offset *n* is a pure fold of the records up to *n* given this spec.
Whatever can change that fold is a field here, and so in the spec fingerprint that every alert carries.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

STATE_VERSION = 8  # one more whenever the same fields lead to another layout or another fold

MS_PER_UNIT = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

# Roles of an input field. `keys` are hashed to 64 bits; the others are numbers or text.
KEY_ROLES = ("card", "customer", "merchant", "terminal", "device", "ip", "country", "mcc", "channel", "currency")


class SpecError(ValueError):
    """A declaration that cannot be turned into a spec; the message names the place and the remedy."""


class FeatureKind(IntEnum):
    """What a feature column holds; the entity kernel switches on these numbers, so they never change meaning."""

    AMOUNT = 0
    HOUR = 1
    WEEKDAY = 2
    NUMERIC = 3
    COUNT = 10
    SUM = 11
    SECONDS_SINCE_LAST = 12
    AMOUNT_TO_MEAN = 13
    AMOUNT_DEVIATION = 14
    AMOUNT_TO_MAX = 15
    NEW = 16
    DISTINCT = 17
    DISTANCE_KM = 18
    SPEED_KMH = 19
    FRAUD_COUNT = 20
    FRAUD_RATE = 21
    PEAK_TO_MEAN = 22
    FRAUD_AGE = 23
    FRAUD_STREAK = 24


WINDOWED = {
    "count": FeatureKind.COUNT,
    "sum": FeatureKind.SUM,
    "amount_to_mean": FeatureKind.AMOUNT_TO_MEAN,
    "amount_deviation": FeatureKind.AMOUNT_DEVIATION,
    "amount_to_max": FeatureKind.AMOUNT_TO_MAX,
    "peak_to_mean": FeatureKind.PEAK_TO_MEAN,
    "fraud_count": FeatureKind.FRAUD_COUNT,
    "fraud_rate": FeatureKind.FRAUD_RATE,
    "fraud_age": FeatureKind.FRAUD_AGE,
    "fraud_streak": FeatureKind.FRAUD_STREAK,
}
LABEL_KINDS = frozenset(kind for kind in FeatureKind if kind.name.startswith("FRAUD_"))  # what only labels can tell
PLAIN = {
    "seconds_since_last": FeatureKind.SECONDS_SINCE_LAST,
    "distance_km": FeatureKind.DISTANCE_KM,
    "speed_kmh": FeatureKind.SPEED_KMH,
}
ROW = {"amount": FeatureKind.AMOUNT, "hour": FeatureKind.HOUR, "weekday": FeatureKind.WEEKDAY}


@dataclass(frozen=True, slots=True)
class Entity:
    """Something that features are kept for: card, customer, merchant, terminal, device.

    `key` is the role whose value identifies it. `scope` says whose history a task sees: `partition` is exact when the
    topic is keyed by this entity (or by what determines it); `global` entities are spread over partitions, and a task
    sees its own share. `slots_max` bounds the table; past it the least recently seen entities make room.
    """

    name: str
    key: str
    scope: Literal["partition", "global"] = "partition"
    slots_max: int = 4_000_000


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of the feature matrix, parsed from its name by `parse_feature`."""

    name: str
    kind: FeatureKind
    entity: str = ""
    window_ms: int = 0
    key: str = ""
    column: str = ""


@dataclass(frozen=True, slots=True)
class HalfSpaceTrees:
    """Streaming half-space trees (Tan, Ting, Liu, IJCAI 2011). `features` empty means the default choice."""

    trees: int = 25
    height: int = 8
    window_rows: int = 1_000
    features: tuple[str, ...] = ()
    weight: float = 0.25
    kind: Literal["half_space_trees"] = "half_space_trees"


class MadeOutside(Protocol):
    """A member that is no part of the core: a frozen dataclass that builds it; its fields say all that decides."""

    @property
    def kind(self) -> str:
        """Under which its score is published."""
        ...

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features that it sees; empty means the default choice."""
        ...

    @property
    def weight(self) -> float:
        """Of its score in the fusion."""
        ...

    def build(self, columns: NDArray[np.int64], profiled: NDArray[np.int64], seed: int) -> Any:
        """The member, a `detector.core.models.Member`, for these columns and their rows in the feature profile."""
        ...


class TrainedOutside(Protocol):
    """A supervised model that was trained elsewhere: a frozen dataclass; its fields say all that decides."""

    @property
    def kind(self) -> str:
        """Under which its probability is published."""
        ...

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features that it sees, in its order."""
        ...

    def build_head(self, columns: NDArray[np.int64]) -> Any:
        """The head, a `detector.core.trained.Head`, for these columns of the feature matrix."""
        ...


@dataclass(frozen=True, slots=True)
class IsolationForest:
    """A rolling isolation forest (Liu, Ting, Zhou, ICDM 2008); one tree is replaced every `rebuild_rows` learned."""

    trees: int = 50
    sample_rows: int = 256
    rebuild_rows: int = 256
    pivot_rows: int = 1_000
    features: tuple[str, ...] = ()
    weight: float = 1.0
    kind: Literal["isolation_forest"] = "isolation_forest"


@dataclass(frozen=True, slots=True)
class ProjectionHistograms:
    """Histograms of sparse random projections (after LODA: Pevný, 2016) in one view of the rows.

    `width` of a bin in standard deviations of its projection; bins of twice that are read too.
    """

    view: Literal["range", "asinh"] = "range"
    projections: int = 100
    width: float = 2.0
    pivot_rows: int = 1_000
    features: tuple[str, ...] = ()
    weight: float = 1.0

    @property
    def kind(self) -> str:
        """Under which its score is published."""
        return f"projections_{self.view}"


@dataclass(frozen=True, slots=True)
class Mahalanobis:
    """The distance from the rows' middle in units of their covariance (Mahalanobis, 1936), in a robust asinh view."""

    pivot_rows: int = 1_000
    features: tuple[str, ...] = ()
    weight: float = 1.5
    kind: Literal["mahalanobis"] = "mahalanobis"


MemberSpec = HalfSpaceTrees | IsolationForest | ProjectionHistograms | Mahalanobis | MadeOutside


@dataclass(frozen=True, slots=True)
class Decision:
    """When a transaction becomes an alert.

    `alerts_per_day` is the alert budget over all partitions, per event-time day (UTC); None leaves the threshold alone
    in charge. `money_weight` is how much the amount at risk counts when the budget is spent: 0 not at all, 1 as much as
    rarity. `alert_risk_min` and `review_risk_min` are risk scores (0–1000): no alert below the first, review from
    the second.
    """

    alerts_per_day: int | None = 100
    alert_risk_min: float = 900.0
    review_risk_min: float = 990.0
    money_weight: float = 0.0


@dataclass(frozen=True, slots=True)
class Labels:
    """What is learned from labels that come days after the transaction; None in their place: labels are not read.

    `pending_rows_max` bounds the store of decided rows that a label may still find. `frauds_until_half` is the number
    of frauds at which the supervised head weighs as much as the unsupervised members; of the genuine rows it learns
    `genuine_share` at most, and each fraud for `fraud_weight` of them. `ridge` draws its weights to nothing.
    """

    pending_rows_max: int = 262_144
    frauds_until_half: float = 10.0
    genuine_share: float = 1.0
    fraud_weight: float = 1.0
    ridge: float = 10.0
    boosted_trainer: str = ""  # dotted name of a function; empty: no boosted head
    boosted_trees: int = 60
    boosted_depth: int = 5
    boosted_delay_rows: int = 8_192


@dataclass(frozen=True, slots=True)
class Heads:
    """Supervised models trained elsewhere, each counting as much as the frauds that it was trained on times its weight.

    `frauds_until_half` is the number of frauds that the unsupervised members count as.
    """

    trained: tuple[TrainedOutside, ...]
    frauds_until_half: float = 10.0


@dataclass(frozen=True, slots=True)
class Spec:
    """All that `step` needs to know besides its input and its state.

    `mapping` is a digest of how bytes become columns: `step` never reads it, but another mapping makes another stream.
    Nor does it read `trainer_version`, that of the package behind `Labels.boosted_trainer`: another fits other trees.
    """

    keys: tuple[str, ...]
    numeric: tuple[str, ...]
    entities: tuple[Entity, ...]
    features: tuple[Feature, ...]
    members: tuple[MemberSpec, ...]
    decision: Decision
    allowed_lateness_ms: int = 3_600_000
    partitions: int = 1
    seed: int = 42
    mapping: str = ""
    labels: Labels | None = None
    heads: Heads | None = None
    trainer_version: str = ""

    def fingerprint(self) -> str:
        """16 hex digits over every field: equal fingerprints decide equally."""
        return _digest({"version": STATE_VERSION, **dataclasses.asdict(self)})

    def state_fingerprint(self) -> str:
        """16 hex digits over what shapes the state; thresholds, budget, trained heads and the trainer's version are
        left out, so they may change at any restart.
        """
        return _digest(self._state_fields())

    def state_parts(self) -> dict[str, str]:
        """The same part by part, each by the name that a configuration has for it, so that a change can be named."""
        fields = self._state_fields()
        return {PART_NAMES.get(name, name): _digest({"": value})[:8] for name, value in fields.items() if value}

    def _state_fields(self) -> dict[str, object]:
        fields = dataclasses.asdict(self)
        del fields["decision"], fields["partitions"], fields["heads"], fields["trainer_version"]
        return {"version": STATE_VERSION, **fields}


def parse_duration_ms(text: str) -> int:
    """`"90s"`, `"1h"`, `"30d"` → milliseconds. Raises SpecError for anything else."""
    match = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if not match or int(match[1]) == 0:
        raise SpecError(f"expected a duration such as 90s, 15m, 24h or 30d, found {text!r}")
    return int(match[1]) * MS_PER_UNIT[match[2]]


FEATURE_GRAMMAR = (
    ("`amount`, `hour`, `weekday`", "of the row itself (UTC; Monday is 0)"),
    ("`numeric.COLUMN`", "a declared numeric column"),
    ("`E.count.W`, `E.sum.W`", "rows and amount of entity E in the window W before this row"),
    ("`E.seconds_since_last`", "since E's previous row"),
    ("`E.amount_to_mean.W`, `E.amount_to_max.W`", "amount ÷ E's mean amount, or largest, in W"),
    ("`E.peak_to_mean.W`", "E's largest amount in W before this row ÷ its mean in its longest window"),
    ("`E.amount_deviation.W`", "(amount − mean) ÷ standard deviation in W"),
    ("`E.new.KEY`", "1 when KEY's value is not among E's last ones (16 merchants, 4 others)"),
    ("`E.distinct.KEY.W`", "distinct values of KEY seen with E in W, this row's included, at most 8"),
    ("`E.distance_km`, `E.speed_kmh`", "from E's previous place; rows within a minute count as a minute apart"),
    ("`E.fraud_count.W`", "frauds of E that labels told of in the window W, by the labels' arrival"),
    ("`E.fraud_rate.W`", "their share of E's labels in W, drawn to the stream's own share where few"),
    ("`E.fraud_age.W`", "seconds since the first of them"),
    ("`E.fraud_streak.W`", "the last of E's labels in W that said fraud in a row, as a number"),
)


def parse_feature(name: str) -> Feature:
    """The feature of a name in `FEATURE_GRAMMAR`.

    Raises SpecError, naming what was expected.
    """
    if name in ROW:
        return Feature(name, ROW[name])
    head, _, rest = name.partition(".")
    if head == "numeric" and rest:
        return Feature(name, FeatureKind.NUMERIC, column=rest)
    parts = rest.split(".")
    if parts[0] in PLAIN and len(parts) == 1:
        return Feature(name, PLAIN[parts[0]], entity=head)
    if parts[0] in WINDOWED and len(parts) == 2:
        return Feature(name, WINDOWED[parts[0]], entity=head, window_ms=parse_duration_ms(parts[1]))
    if parts[0] == "new" and len(parts) == 2:
        return Feature(name, FeatureKind.NEW, entity=head, key=parts[1])
    if parts[0] == "distinct" and len(parts) == 3:
        return Feature(name, FeatureKind.DISTINCT, entity=head, key=parts[1], window_ms=parse_duration_ms(parts[2]))
    raise SpecError(
        f"unknown feature {name!r}: expected amount, hour, weekday, numeric.COLUMN, or ENTITY followed by one of "
        ".count.W .sum.W .seconds_since_last .amount_to_mean.W .amount_deviation.W .amount_to_max.W .new.KEY "
        ".peak_to_mean.W .distinct.KEY.W .distance_km .speed_kmh .fraud_count.W .fraud_rate.W .fraud_age.W "
        ".fraud_streak.W, where W is a window such as 24h"
    )


PART_NAMES = {"version": "the detector's version", "members": "models", "allowed_lateness_ms": "allowed_lateness"}


def _digest(fields: dict[str, object]) -> str:
    said = {name: value for name, value in fields.items() if value not in ("", None)}  # says nothing, now or later
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=int).encode()).hexdigest()[:16]
