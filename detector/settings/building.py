"""Settings → the frozen spec, and every clash between declarations that lie in different sections."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from functools import partial
from importlib.util import find_spec

from detector.adapters import trained as trained_model
from detector.adapters.outside import package_version
from detector.adapters.plugin import Plugin, PluginError, declare
from detector.adapters.trained import Trained
from detector.adapters.trained_file import TrainedError
from detector.codec.shape import KEY_ROLE_FIELDS
from detector.core.defaults import default_features, default_label_features
from detector.core.spec import (
    KEY_ROLES,
    LABEL_KINDS,
    Decision,
    Entity,
    Feature,
    FeatureKind,
    HalfSpaceTrees,
    Heads,
    IsolationForest,
    Labels,
    Mahalanobis,
    MemberSpec,
    ProjectionHistograms,
    Spec,
    parse_duration_ms,
    parse_feature,
)
from detector.settings.faults import ConfigError
from detector.settings.models import Models
from detector.settings.sections import Settings
from schemas.mapping import Mapping

DEFAULT_ENTITIES = (
    Entity("card", "card", "partition"),
    Entity("customer", "customer", "partition"),
    Entity("merchant", "merchant", "global"),
    Entity("terminal", "terminal", "global"),
    Entity("device", "device", "global"),
)
BOOSTED_TRAINER = "detector.adapters.boosting.train"
WINDOW_MS_MAX = 365 * 86_400_000
_NEEDS_AMOUNT = (
    FeatureKind.AMOUNT,
    FeatureKind.SUM,
    FeatureKind.AMOUNT_TO_MEAN,
    FeatureKind.AMOUNT_DEVIATION,
    FeatureKind.AMOUNT_TO_MAX,
    FeatureKind.PEAK_TO_MEAN,
)
_NEEDS_PLACE = (FeatureKind.DISTANCE_KM, FeatureKind.SPEED_KMH)


def build_spec(settings: Settings, partitions: int) -> Spec:
    """The spec. Raises ConfigError with all clashes, ValueError for a number of partitions below 1."""
    if partitions < 1:
        raise ValueError(f"expected at least one partition, found {partitions}")
    keys = _keys(settings)
    numeric = tuple(settings.input.numeric)
    entities, faults = _entities(settings, keys)
    features, feature_faults = _features(settings, entities, keys, numeric)
    faults += feature_faults
    names = {feature.name for feature in features}
    faults += [
        f"models.{member.kind}.features: expected names among the features in use, found {name!r}"
        for member in members_of(settings.models)
        for name in member.features
        if name not in names
    ]
    plugins, plugin_faults = _plugins(settings, names)
    faults += plugin_faults
    if settings.labels.enabled and settings.labels.boosted and find_spec("xgboost") is None:
        faults.append("labels.boosted: expected xgboost, found none; install the extra `boost`, or leave it off")
    trained, trained_faults = _trained(settings)
    faults += trained_faults
    members = (*members_of(settings.models), *plugins, *(model for model in trained if not model.supervised))
    if not members and not faults:
        faults.append("models: expected at least one model that needs no labels, found supervised ones alone")
    if faults:
        raise ConfigError(faults)
    decision = settings.decision
    # What no feature reads is neither hashed nor kept.
    entities = tuple(entity for entity in entities if any(feature.entity == entity.name for feature in features))
    read = {entity.key for entity in entities} | {feature.key for feature in features}
    spec = Spec(
        keys=tuple(key for key in keys if key in read),
        numeric=numeric,
        entities=entities,
        features=features,
        members=members,
        decision=Decision(
            decision.alerts_per_day or None, decision.alert_risk_min, decision.review_risk_min, decision.money_weight
        ),
        allowed_lateness_ms=parse_duration_ms(settings.features.allowed_lateness),
        partitions=partitions,
        seed=settings.models.seed,
        mapping=_digest(settings.mapping),
        labels=_labels(settings),
        heads=_heads(settings, trained),
        trainer_version=package_version("xgboost") if settings.labels.enabled and settings.labels.boosted else "",
    )
    misfits = [(index, trained_model.fault(model, spec)) for index, model in enumerate(trained)]
    faults = [f"models.trained.{index}: {fault}" for index, fault in misfits if fault is not None]
    if faults:
        raise ConfigError(faults)
    return spec


def members_of(models: Models) -> tuple[MemberSpec, ...]:
    """The enabled members, in the order of their sections."""
    kinds: dict[str, Callable[..., MemberSpec]] = {
        "half_space_trees": HalfSpaceTrees,
        "isolation_forest": IsolationForest,
        "projections_range": partial(ProjectionHistograms, "range"),
        "projections_asinh": partial(ProjectionHistograms, "asinh"),
        "mahalanobis": Mahalanobis,
    }
    declared = {name: getattr(models, name) for name in kinds}
    return tuple(
        kinds[name](**{field: value for field, value in member if field != "enabled"})
        for name, member in declared.items()
        if member.enabled
    )


def _labels(settings: Settings) -> Labels | None:
    declared = settings.labels
    if not declared.enabled:
        return None
    return Labels(
        declared.pending_rows_max,
        declared.frauds_until_half,
        declared.genuine_share,
        declared.fraud_weight,
        declared.ridge,
        BOOSTED_TRAINER if declared.boosted else "",
        boosted_delay_rows=declared.boosted_delay_rows,
    )


def _plugins(settings: Settings, names: set[str]) -> tuple[list[Plugin], list[str]]:
    """Members that are not ours, and what keeps them from taking part."""
    plugins, faults = [], []
    for index, item in enumerate(settings.models.plugins):
        place = f"models.plugins.{index}"
        faults += [
            f"{place}.features: expected names among the features in use, found {name!r}"
            for name in item.features
            if name not in names
        ]
        rest = item.model_dump(include={"rows", "refit_rows", "features", "weight"})
        try:
            plugins.append(declare(item.estimator, item.parameters, len(item.features or names) or 1, **rest))
        except PluginError as error:
            faults.append(f"{place}: {error}")
    return plugins, faults


def _trained(settings: Settings) -> tuple[list[Trained], list[str]]:
    """Models that the lab trained, and why others cannot be loaded."""
    models, faults = [], []
    for index, item in enumerate(settings.models.trained):
        try:
            models.append(trained_model.declare(item.path, item.weight, item.tracking_uri))
        except TrainedError as error:
            faults.append(f"models.trained.{index}: {error}")
    return models, faults


def _heads(settings: Settings, trained: list[Trained]) -> Heads | None:
    heads = tuple(model for model in trained if model.supervised)
    return Heads(heads, settings.labels.frauds_until_half) if heads else None


def _digest(mapping: Mapping) -> str:
    """16 hex digits over what the mapping says; the reject limits beside it decide nothing."""
    fields = mapping.model_dump(mode="json", include=set(Mapping.model_fields))
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


def _keys(settings: Settings) -> tuple[str, ...]:
    return tuple(role for role in KEY_ROLES if KEY_ROLE_FIELDS[role] in settings.input.fields)


def _entities(settings: Settings, keys: tuple[str, ...]) -> tuple[tuple[Entity, ...], list[str]]:
    if settings.entities is None:
        return tuple(entity for entity in DEFAULT_ENTITIES if entity.key in keys), []
    faults = []
    entities: list[Entity] = []
    for index, declared in enumerate(settings.entities):
        if declared.key not in keys:
            faults.append(
                f"entities.{index}.key: expected a role that [input.fields] maps ({_listed(keys)}), "
                f'found {declared.key!r}; add {KEY_ROLE_FIELDS[declared.key]} = "its.path" there'
            )
        if any(entity.name == declared.name for entity in entities):
            faults.append(f"entities.{index}.name: expected each name once, found {declared.name!r} twice")
        entities.append(Entity(declared.name, declared.key, declared.scope, declared.slots_max))
    return tuple(entities), faults


def _features(
    settings: Settings, entities: tuple[Entity, ...], keys: tuple[str, ...], numeric: tuple[str, ...]
) -> tuple[tuple[Feature, ...], list[str]]:
    roles = frozenset(settings.input.fields)
    names = {entity.name for entity in entities}
    if settings.features.use is None:
        parsed = [parse_feature(name) for name in default_features(entities, keys, numeric)]
        if settings.labels.enabled:
            parsed += [parse_feature(name) for name in default_label_features(entities)]
        return tuple(feature for feature in parsed if _lack(feature, names, keys, numeric, roles) is None), []
    parsed = [parse_feature(name) for name in settings.features.use]
    faults = []
    for feature in parsed:
        lack = _lack(feature, names, keys, numeric, roles)
        if lack is None and feature.kind in LABEL_KINDS and not settings.labels.enabled:
            lack = "expected [labels] enabled = true, which such a feature rests on"
        if lack is not None:
            faults.append(f"features.use: {feature.name!r}: {lack}")
    return tuple(parsed), faults


def _lack(
    feature: Feature, entities: set[str], keys: tuple[str, ...], numeric: tuple[str, ...], roles: frozenset[str]
) -> str | None:
    """What a feature needs and does not find; None where all is there."""
    if feature.entity and feature.entity not in entities:
        known = _listed(sorted(entities))
        return f"expected an entity ({known}), found {feature.entity!r}; declare it under [[entities]]"
    if feature.key and feature.key not in keys:
        return f"expected a role that [input.fields] maps ({_listed(keys)}), found {feature.key!r}"
    if feature.kind is FeatureKind.NUMERIC and feature.column not in numeric:
        return f"expected a column of [input] numeric ({_listed(numeric)}), found {feature.column!r}"
    if feature.kind in _NEEDS_AMOUNT and "amount" not in roles:
        return "expected [input.fields] to map amount, found no such role"
    if feature.kind in _NEEDS_PLACE and not {"lat", "lon"} <= roles:
        return "expected [input.fields] to map lat and lon, found no such roles"
    if feature.window_ms > WINDOW_MS_MAX:
        return "expected a window of at most 365d, found a longer one"
    return None


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
