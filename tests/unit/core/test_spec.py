"""The feature grammar and the fingerprints: what changes a decision changes them, and what shapes the state both."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from detector.core.defaults import default_features, default_model_features
from detector.core.spec import (
    FEATURE_GRAMMAR,
    Decision,
    Entity,
    FeatureKind,
    HalfSpaceTrees,
    Labels,
    Spec,
    SpecError,
    parse_duration_ms,
    parse_feature,
)
from tests.streams import CARD_ONLY, DAY, ENTITIES, EVERYTHING, HOUR, KEYS, MINUTE, SECOND


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("90s", 90 * SECOND), ("15m", 15 * MINUTE), ("24h", DAY), ("1h", HOUR), ("30d", 30 * DAY)],
)
def test_durations(text: str, milliseconds: int) -> None:
    assert parse_duration_ms(text) == milliseconds


@pytest.mark.parametrize("text", ["", "0s", "1", "1w", "-1h", "1.5h", "1h30m", "1 h", "9999999d", "h", "١h1"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(SpecError, match="expected a duration such as"):
        parse_duration_ms(text)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("amount", (FeatureKind.AMOUNT, "", 0, "", "")),
        ("numeric.a.b", (FeatureKind.NUMERIC, "", 0, "", "a.b")),
        ("card.count.1h", (FeatureKind.COUNT, "card", HOUR, "", "")),
        ("x.amount_to_max.90s", (FeatureKind.AMOUNT_TO_MAX, "x", 90_000, "", "")),
        ("card.new.merchant", (FeatureKind.NEW, "card", 0, "merchant", "")),
        ("device.distinct.card.7d", (FeatureKind.DISTINCT, "device", 7 * DAY, "card", "")),
        ("card.speed_kmh", (FeatureKind.SPEED_KMH, "card", 0, "", "")),
    ],
)
def test_feature_names(name: str, expected: tuple[FeatureKind, str, int, str, str]) -> None:
    feature = parse_feature(name)
    assert (feature.kind, feature.entity, feature.window_ms, feature.key, feature.column) == expected
    assert feature.name == name


@pytest.mark.parametrize(
    "name", ["", "numeric.", "card", "card.count", "card.count.1h.2h", "card.median.1h", "card.new", "card.distinct.x"]
)
def test_what_is_no_feature(name: str) -> None:
    with pytest.raises(SpecError, match="unknown feature"):
        parse_feature(name)


def test_the_grammar_names_every_kind_of_feature() -> None:
    names = [name for names, _value in FEATURE_GRAMMAR for name in re.findall(r"`(.+?)`", names)]
    example = {"E": "card", "W": "24h", "KEY": "merchant"}
    told = [parse_feature(".".join(example.get(part, part) for part in name.split("."))) for name in names]
    assert {feature.kind for feature in told} == set(FeatureKind)


def test_default_features_parse_and_are_named_once() -> None:
    for keys in (KEYS, ("card",), ("customer", "terminal"), ("merchant",), ()):
        entities = tuple(Entity(key, key) for key in keys if key != "country")
        names = default_features(entities, keys, ("v", "w"))
        assert len(set(names)) == len(names)
        features = tuple(parse_feature(name) for name in names)
        assert {feature.entity for feature in features} <= {"", *keys}
        assert {feature.key for feature in features} <= {"", *keys}
        chosen = default_model_features(features)
        assert set(chosen) <= set(names)
        assert {"amount", "numeric.v", "numeric.w"} <= set(chosen)


def test_models_fall_back_to_all_features() -> None:
    features = tuple(parse_feature(name) for name in ("hour", "weekday"))
    assert default_model_features(features) == ("hour", "weekday")


SHAPES = [
    replace(CARD_ONLY, keys=("card", "merchant")),
    replace(CARD_ONLY, numeric=("v",)),
    replace(CARD_ONLY, entities=ENTITIES[:1]),
    replace(CARD_ONLY, features=CARD_ONLY.features[:-1]),
    replace(CARD_ONLY, members=(HalfSpaceTrees(),)),
    replace(CARD_ONLY, allowed_lateness_ms=1),
    replace(CARD_ONLY, seed=43),
]
DECISIONS = [
    replace(CARD_ONLY, decision=Decision(None)),
    replace(CARD_ONLY, decision=Decision(99)),
    replace(CARD_ONLY, decision=Decision(alert_risk_min=1.0)),
    replace(CARD_ONLY, decision=Decision(review_risk_min=1.0)),
    replace(CARD_ONLY, partitions=2),
    replace(CARD_ONLY, trainer_version="3.2.0"),
]


def test_fingerprints_tell_specs_apart() -> None:
    specs: list[Spec] = [CARD_ONLY, EVERYTHING, *SHAPES, *DECISIONS]
    prints = [spec.fingerprint() for spec in specs]
    assert len(set(prints)) == len(prints)
    assert all(len(text) == 16 and int(text, 16) >= 0 for text in prints)
    assert replace(CARD_ONLY).fingerprint() == CARD_ONLY.fingerprint()


def test_state_fingerprints_leave_out_what_may_change_live() -> None:
    assert {spec.state_fingerprint() for spec in DECISIONS} == {CARD_ONLY.state_fingerprint()}
    assert len({spec.state_fingerprint() for spec in [CARD_ONLY, *SHAPES]}) == 1 + len(SHAPES)


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        (replace(CARD_ONLY, seed=43), {"seed"}),
        (replace(CARD_ONLY, members=(HalfSpaceTrees(),)), {"models"}),
        (replace(CARD_ONLY, allowed_lateness_ms=1), {"allowed_lateness"}),
        (replace(CARD_ONLY, labels=Labels()), {"labels"}),
        (replace(CARD_ONLY, decision=Decision(99)), set()),
    ],
)
def test_state_parts_name_what_changed(changed: Spec, names: set[str]) -> None:
    assert {name for name, _ in set(changed.state_parts().items()) ^ set(CARD_ONLY.state_parts().items())} == names
