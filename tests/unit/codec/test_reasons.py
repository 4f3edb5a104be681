"""Reasons: the exact words of each kind, and numbers that a person finds again in the card's own history."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detector.codec.reasons import NOTHING_KNOWN, SENTENCES, duration, money, number, sentences, share, span
from detector.core.batch import ReasonEvidence, TransactionBatch
from detector.core.operator import step
from detector.core.spec import Decision, FeatureKind, HalfSpaceTrees
from detector.core.state import new_state
from tests.streams import DAY, EVERYTHING, NAN, SPECS, START_MS, features_of, seeded_codes, stream


def sentence(name: str, value: float, *, amount: float = 412.0, currency: str | None = None, **evidence: float) -> str:
    spec = replace(EVERYTHING, features=features_of(name))
    given = {"baseline": NAN, "rarity": 0.0008, "typical_low": 2.0, "typical_high": 60.0} | evidence
    (reason,) = sentences(spec, (ReasonEvidence(feature=0, value=value, **given),), amount, currency)
    assert reason.feature == name
    assert reason.code == spec.features[0].kind.name.lower()
    assert reason.value == value
    assert reason.rarity == given["rarity"]
    return reason.text


EXACT = [
    ("amount", 412.0, {}, "amount 412.00 is higher than 99.920 % of earlier transactions (usually 2.00 to 60.00)"),
    (
        "amount",
        412.0,
        {"currency": "EUR", "rarity": 0.05},
        "amount 412.00 EUR is higher than 95.0 % of earlier transactions (usually 2.00 to 60.00)",
    ),
    (
        "amount",
        20.0,
        {"amount": 20.0, "rarity": 0.4},
        "amount 20.00 is not unusually high by itself (usually 2.00 to 60.00)",
    ),
    (
        "card.amount_to_mean.30d",
        8.306,
        {"baseline": 49.6},
        "amount 412.00 is 8.31 times this card's 30-day mean of 49.60",
    ),
    (
        "card.amount_to_mean.30d",
        405.0,
        {"baseline": 1.017, "rows": 1},
        "amount 412.00 is 405 times this card's 30-day mean of 1.02 (1 transaction)",
    ),
    (
        "card.amount_to_max.7d",
        4.0,
        {"baseline": 103.0},
        "amount 412.00 is 4 times this card's largest in 7 days, 103.00",
    ),
    (
        "card.amount_deviation.24h",
        6.25,
        {},
        "amount 412.00 is 6.25 standard deviations above this card's 24-hour mean",
    ),
    (
        "card.amount_deviation.30d",
        -3.5,
        {"low": True},
        "amount 412.00 is 3.5 standard deviations below this card's 30-day mean",
    ),
    (
        "card.count.1h",
        14.0,
        {},
        (
            "14 transactions of this card in the hour before, higher than 99.920 % of earlier transactions "
            "(usually 2 to 60)"
        ),
    ),
    (
        "card.count.24h",
        1.0,
        {"rarity": 0.9},
        "1 transaction of this card in the 24 hours before, not unusually high by itself (usually 2 to 60)",
    ),
    (
        "merchant.sum.7d",
        1_234_567.8,
        {"typical_high": 25_000.0},
        (
            "1,234,567.80 spent with this merchant in the 7 days before, higher than 99.920 % of earlier transactions "
            "(usually 2.00 to 25,000.00)"
        ),
    ),
    (
        "card.seconds_since_last",
        783_648.0,
        {"typical_low": 1_272.0, "typical_high": 135_360.0},
        (
            "9.07 d after this card's previous transaction, later than 99.920 % of earlier ones "
            "(usually 21.2 min to 37.6 h)"
        ),
    ),
    (
        "card.seconds_since_last",
        4.0,
        {"low": True, "typical_low": 1_200.0, "typical_high": 400_000.0},
        (
            "only 4 s after this card's previous transaction, sooner than 99.920 % of earlier ones "
            "(usually 20 min to 4.63 d)"
        ),
    ),
    (
        "card.seconds_since_last",
        7_300.0,
        {"low": True, "rarity": 0.3, "typical_low": 1_200.0, "typical_high": 400_000.0},
        "2.03 h after this card's previous transaction, not unusually soon by itself (usually 20 min to 4.63 d)",
    ),
    ("card.new.merchant", 1.0, {}, "merchant is none of this card's last 16 different merchants"),
    ("card.new.country", 1.0, {}, "country is none of this card's last 4 different countries"),
    (
        "device.distinct.card.7d",
        5.0,
        {"typical_low": 1.0, "typical_high": 2.0},
        "5 cards seen with this device in 7 days, higher than 99.920 % of earlier transactions (usually 1 to 2)",
    ),
    (
        "card.distinct.country.30d",
        3.0,
        {"typical_low": 1.0, "typical_high": 1.0},
        "3 countries seen with this card in 30 days, higher than 99.920 % of earlier transactions (usually 1)",
    ),
    (
        "card.distance_km",
        5_837.4,
        {},
        "5,837 km from this card's previous place, higher than 99.920 % of earlier transactions (usually 2 to 60)",
    ),
    (
        "card.speed_kmh",
        1_204.5,
        {},
        (
            "1,204 km/h needed from this card's previous place, higher than 99.920 % of earlier transactions "
            "(usually 2 to 60)"
        ),
    ),
    (
        "numeric.v",
        -7.25,
        {"low": True, "typical_low": -1.5, "typical_high": 1.52},
        "v -7.25 is lower than 99.920 % of earlier transactions (usually -1.5 to 1.52)",
    ),
    ("numeric.v", 0.5, {"rarity": 0.2}, "v 0.5 is not unusual by itself (usually 2 to 60)"),
    ("hour", 3.0, {"rarity": 0.012}, "at 03:00-03:59 UTC, when 1.2 % of transactions come"),
    ("weekday", 6.0, {}, "on a Sunday"),
    (
        "terminal.fraud_count.7d",
        2.0,
        {"typical_low": 0.0, "typical_high": 0.0},
        (
            "2 frauds of this terminal confirmed in the 7 days before, higher than 99.920 % of earlier transactions "
            "(usually 0)"
        ),
    ),
    (
        "terminal.fraud_age.30d",
        7_200.0,
        {},
        "the first fraud of this terminal in the 30 days before was confirmed 2 h ago",
    ),
    (
        "terminal.fraud_streak.30d",
        3.0,
        {},
        "the last 3 transactions of this terminal that were labelled were all frauds",
    ),
    (
        "terminal.fraud_streak.30d",
        1.0,
        {},
        "the last transaction of this terminal that was labelled was a fraud",
    ),
    (
        "card.peak_to_mean.7d",
        4.0,
        {"typical_low": 1.0, "typical_high": 3.0},
        (
            "this card's largest amount in the 7 days before is 4 times the mean of all that is remembered, higher "
            "than 99.920 % of earlier transactions (usually 1 to 3)"
        ),
    ),
    (
        "card.peak_to_mean.7d",
        2.32,
        {"typical_low": 1.08, "typical_high": 2.37, "rarity": 0.049},
        (
            "this card's largest amount in the 7 days before is 2.32 times the mean of all that is remembered, higher "
            "than 95.1 % of earlier transactions"
        ),
    ),
    (
        "card.seconds_since_last",
        133_200.0,
        {"typical_low": 1_272.0, "typical_high": 135_360.0, "rarity": 0.049},
        "37 h after this card's previous transaction, later than 95.1 % of earlier ones",
    ),
    (
        "terminal.fraud_rate.30d",
        0.25,
        {"typical_low": 0.001, "typical_high": 0.002, "rows": 3},
        (
            "by the labels of the 30 days before (3 frauds), an estimated 25 % of this terminal's transactions are "
            "fraud, higher than 99.920 % of earlier transactions (usually 0.1 % to 0.2 %)"
        ),
    ),
]


@pytest.mark.parametrize(("name", "value", "evidence", "text"), EXACT)
def test_words(name: str, value: float, evidence: dict[str, float], text: str) -> None:
    assert sentence(name, value, **evidence) == text


def test_every_kind_of_feature_has_words() -> None:
    assert set(SENTENCES) == set(FeatureKind)
    kinds = {feature.kind for feature in features_of(*(name for name, *_ in EXACT))}
    assert kinds == set(FeatureKind)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (money(0.0), "0.00"),
        (money(0.004), "0.004"),
        (money(1e12), "1,000,000,000,000.00"),
        (number(1e121), "1e+121"),
        (number(999.9), "1e+03"),
        (number(0.333333), "0.333"),
        (number(-12_345.6), "-12,346"),
        (span(90_000), "90 seconds"),
        (span(DAY), "24 hours"),
        (span(7 * DAY), "7 days"),
        (span(3_600_000), "1 hour"),
        (duration(0.0), "0 s"),
        (duration(119.0), "119 s"),
        (duration(150.0), "2.5 min"),
        (duration(8.64e9), "100,000 d"),
        (share(0.02), "98.0 %"),
        (share(1e-9), "99.9999 %"),
        (share(0.0011), "99.89 %"),
    ],
)
def test_numbers_are_rounded_for_reading(found: str, text: str) -> None:
    assert found == text


def history(amounts: list[float], gap_ms: int) -> TransactionBatch:
    """One card's purchases, among many of others that make the models ready."""
    random = np.random.RandomState(0)
    others, mine = 600, len(amounts)
    rows = others + mine
    event_time_ms = START_MS + np.arange(rows) * 1_000
    event_time_ms[others:] = event_time_ms[others - 1] + (1 + np.arange(mine)) * gap_ms
    key = np.empty((1, rows), np.uint64)
    key[0, :others] = random.randint(1, 50, others).astype(np.uint64) << np.uint64(40)
    key[0, others:] = 12_345
    amount = np.concatenate([random.uniform(20.0, 60.0, others), amounts])
    nowhere = np.full(rows, NAN)
    return TransactionBatch(np.arange(rows), event_time_ms, amount, key, nowhere, nowhere, np.empty((0, rows)))


def test_numbers_are_found_again_in_the_card_s_history() -> None:
    """ "amount 412.00 is 8.3 times this card's 30-day mean of 49.60": the mean is that of its own earlier purchases."""
    features = features_of(
        "amount", "card.amount_to_mean.30d", "card.amount_to_max.30d", "card.amount_deviation.30d", "card.count.30d"
    )
    spec = replace(
        SPECS["no entity"],
        keys=("card",),
        numeric=(),
        entities=(replace(EVERYTHING.entities[0], slots_max=100),),
        features=features,
        members=(HalfSpaceTrees(10, 5, 64),),
        decision=Decision(1_000_000, 900.0, 990.0),
    )
    earlier = [42.10, 55.0, 51.7, 49.6, 47.0, 52.2]
    batch = history([*earlier, 412.0], gap_ms=7_200_000)
    told = [
        sentences(one, step(one, new_state(one), batch).reasons[len(batch) - 1], 412.0)
        for one in (spec, replace(spec, features=tuple(each for each in features if "to_max" not in each.name)))
    ]
    reasons = [reason for some in told for reason in some]
    texts = {reason.feature: reason.text for reason in reasons}
    mean = sum(earlier) / len(earlier)
    assert texts["card.amount_to_mean.30d"] == (
        f"amount 412.00 is {412.0 / mean:.3g} times this card's 30-day mean of {mean:.2f} (6 transactions)"
    )
    assert texts["card.amount_to_max.30d"] == (
        "amount 412.00 is 7.49 times this card's largest in 30 days, 55.00 (6 transactions)"
    )
    deviations = (412.0 - mean) / np.std(earlier)
    assert texts["card.amount_deviation.30d"] == (
        f"amount 412.00 is {deviations:.3g} standard deviations above this card's 30-day mean (6 transactions)"
    )
    assert texts["amount"].startswith("amount 412.00 is higher than 99.")
    by_feature = {reason.feature: reason for reason in reasons}
    assert by_feature["card.amount_to_mean.30d"].baseline == pytest.approx(mean)
    assert by_feature["card.amount_to_max.30d"].baseline == pytest.approx(55.0)
    assert [len(some) for some in told] == [3, 3]  # of the three ways to say how large it is two


@pytest.mark.parametrize(("value", "side"), [(-900.0, "lower"), (900.0, "higher")])
def test_a_number_is_odd_on_either_side(value: float, side: str) -> None:
    spec = replace(SPECS["no entity"], features=features_of("numeric.v"), members=(HalfSpaceTrees(10, 4, 64),))
    random = np.random.RandomState(0)
    batch = history([1.0], gap_ms=1_000)
    batch.key = np.empty((0, len(batch)), np.uint64)
    batch.numeric = random.normal(5.0, 1.0, (1, len(batch)))
    batch.numeric[0, -1] = value
    spec = replace(spec, decision=Decision(1_000_000, 900.0, 990.0))
    decided = step(spec, new_state(spec), batch)
    (reason,) = sentences(spec, decided.reasons[len(batch) - 1], 1.0)
    assert reason.text.startswith(f"v {value:.0f} is {side} than 99.")


@pytest.mark.parametrize("seed", range(3))
def test_reasons_beyond_the_first_are_rare_and_hold_the_row_s_own_numbers(seed: int) -> None:
    spec = EVERYTHING
    batch = stream(spec, seeded_codes(seed, 150, seed % 2 == 0))
    decided = step(spec, new_state(spec), batch)
    assert len(decided.reasons) > 20
    for row, evidence in decided.reasons.items():
        assert len(evidence) <= 4
        assert all(item.value == decided.features[row, item.feature] for item in evidence)
        assert all(item.typical_low <= item.typical_high for item in evidence)
        assert len(evidence) <= 1 or all(item.rarity <= 0.05 for item in evidence)
        reasons = sentences(spec, evidence, float(batch.amount[row]))
        assert reasons == [NOTHING_KNOWN] or evidence
        for reason, item in zip(reasons, evidence, strict=bool(evidence)):
            assert reason.text
            assert reason.baseline is None or reason.baseline == pytest.approx(item.baseline, rel=1e-6)
            assert "nan" not in reason.text.split()
            assert "inf" not in reason.text.split()


@pytest.mark.parametrize("name", sorted(SPECS))
def test_every_alert_has_a_reason_where_anything_is_known(name: str) -> None:
    spec = SPECS[name]
    batch = stream(spec, seeded_codes(4, 200, True))
    state = new_state(spec)
    decided = step(spec, state, batch)
    assert set(decided.reasons) == set(np.flatnonzero(decided.verdict == 2).tolist())
    for row, evidence in decided.reasons.items():
        known = [
            column
            for column in state.plan.profiled.tolist()
            if not np.isnan(decided.features[row, column])
            and spec.features[column].kind != FeatureKind.WEEKDAY
            and not (spec.features[column].kind == FeatureKind.NEW and decided.features[row, column] == 0.0)
        ]
        assert bool(evidence) == bool(known)


def test_whole_numbers_have_whole_ranges() -> None:
    spec = EVERYTHING
    feature = next(index for index, feature in enumerate(spec.features) if feature.kind.name == "COUNT")
    item = ReasonEvidence(feature, 4.0, NAN, 0.01, 1.01, 2.12)
    assert "(usually 1 to 2)" in sentences(spec, (item,), 10.0)[0].text
    for high, told in ((4.2, "(usually 1 to 3)"), (3.9, "(usually 1 to 3)")):
        assert told in sentences(spec, (replace(item, typical_high=high),), 10.0)[0].text
    once = replace(item, value=1.0, typical_low=0.0, typical_high=1.1)
    assert "(usually 0)" in sentences(spec, (once,), 10.0)[0].text
    assert "(usually 0 to 1)" in sentences(spec, (replace(once, rarity=0.2),), 10.0)[0].text


def test_no_alert_is_without_a_reason() -> None:
    (reason,) = sentences(EVERYTHING, (), NAN)
    assert "nothing" in reason.text
