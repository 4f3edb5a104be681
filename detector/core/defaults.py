"""Which features are kept, and which of them models look at, where none is named."""

from __future__ import annotations

from detector.core.spec import LABEL_KINDS, MS_PER_UNIT, Entity, Feature, FeatureKind

DEFAULT_WINDOWS = ("1h", "24h", "7d", "30d")
LABEL_WINDOWS = ("1d", "7d", "30d")


def default_features(entities: tuple[Entity, ...], keys: tuple[str, ...], numeric: tuple[str, ...]) -> tuple[str, ...]:
    """The features kept when none is declared: all that the present roles allow."""
    names = ["amount", "hour", "weekday"]
    present = {entity.name for entity in entities}
    for entity in entities:
        names += [f"{entity.name}.{kind}.{window}" for kind in ("count", "sum") for window in DEFAULT_WINDOWS]
        names.append(f"{entity.name}.seconds_since_last")
    owner = "card" if "card" in present else "customer" if "customer" in present else ""
    if owner:
        names += [f"{owner}.{kind}.30d" for kind in ("amount_to_mean", "amount_deviation", "amount_to_max")]
        place = ("merchant",) if "merchant" in keys else ("terminal",)
        names += [f"{owner}.new.{key}" for key in (*place, "country", "device") if key in keys]
        names += [f"{owner}.distance_km", f"{owner}.speed_kmh"]
    if "device" in present and "card" in keys:
        names.append("device.distinct.card.7d")
    names += [f"numeric.{column}" for column in numeric]
    return tuple(names)


def default_label_features(entities: tuple[Entity, ...]) -> tuple[str, ...]:
    """What is kept besides where labels are: what these tell, and whether the owner's last payments were odd."""
    names: list[str] = []
    for entity in entities:
        names += [
            f"{entity.name}.{kind}.{window}" for kind in ("fraud_count", "fraud_rate") for window in LABEL_WINDOWS
        ]
        names += [f"{entity.name}.{kind}.{LABEL_WINDOWS[-1]}" for kind in ("fraud_age", "fraud_streak")]
    owner = next((owner for owner in OWNERS if any(entity.name == owner for entity in entities)), "")
    return (*names, *(f"{owner}.peak_to_mean.{window}" for window in ("24h", "7d") if owner))


MODEL_KINDS = frozenset(
    {
        FeatureKind.AMOUNT,
        FeatureKind.NUMERIC,
        FeatureKind.SECONDS_SINCE_LAST,
        FeatureKind.AMOUNT_TO_MEAN,
        FeatureKind.AMOUNT_DEVIATION,
        FeatureKind.AMOUNT_TO_MAX,
        FeatureKind.SPEED_KMH,
    }
)
SELDOM_NEW = frozenset({"country", "device"})
OWNERS = ("card", "customer")


def default_model_features(features: tuple[Feature, ...]) -> tuple[str, ...]:
    """The features that an anomaly model looks at when none is named: what compares a row with its own past.

    Totals of merchants and terminals say how large these are, not how odd the row is; hour and weekday make every
    window shorter than a week look new; a new shop is no news. These are for supervised heads: a tree that splits on
    them splits habits. An owner's short counts, and a device's, tell bursts.
    """
    owner = next((name for name in OWNERS if any(feature.entity == name for feature in features)), "")
    day = MS_PER_UNIT["d"]
    chosen = [
        feature.name
        for feature in features
        if (feature.kind in MODEL_KINDS and feature.entity in ("", owner))
        or (feature.kind == FeatureKind.NEW and feature.entity == owner and feature.key in SELDOM_NEW)
        or (feature.kind == FeatureKind.COUNT and feature.entity == owner and feature.window_ms <= day)
        or (feature.kind == FeatureKind.COUNT and feature.entity == "device" and feature.window_ms < day)
        or (feature.kind == FeatureKind.SUM and feature.entity == owner and feature.window_ms == day)
    ]
    return tuple(chosen) or tuple(feature.name for feature in features if feature.kind not in LABEL_KINDS)
