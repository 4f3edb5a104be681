"""Reason evidence → sentences that a person can check against the card's own history.

Every sentence states the row's number, what it is compared with, and, for what is merely rare, how rare. Numbers are
rounded for reading; the exact ones stand beside the text in the reason's fields.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from detector.core.batch import ReasonEvidence
from detector.core.explain import RARITY_MAX, SIDE
from detector.core.plan import RECENT_MAX, RECENT_MAX_OTHERS
from detector.core.profile import EITHER
from detector.core.spec import Feature, FeatureKind, Spec
from schemas.alert import Reason

COUNTS = frozenset({FeatureKind.COUNT, FeatureKind.DISTINCT, FeatureKind.FRAUD_COUNT, FeatureKind.FRAUD_STREAK})
WHOLE_MAX = 1_000.0  # above, a range of whole numbers is not read to the unit
UNITS = ((86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second"))
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

NOTHING_KNOWN = Reason(
    code="nothing_known",
    text="nothing that the models look at is known of this transaction, which few transactions have in common",
    feature="",
    value=None,
)

Sentence = Callable[[Feature, ReasonEvidence, str], str]


def sentences(
    spec: Spec, evidence: tuple[ReasonEvidence, ...], amount: float, currency: str | None = None
) -> list[Reason]:
    """One `Reason` for each piece of evidence, in the same order; `amount` and `currency` are the transaction's.

    Never empty: an alert without evidence is one whose features are all missing, and the reason says so.
    """
    money_text = f"amount {money(amount)}" + (f" {currency}" if currency else "")
    reasons = []
    for item in evidence:
        feature = spec.features[item.feature]
        reasons.append(
            Reason(
                code=feature.kind.name.lower(),
                text=SENTENCES[feature.kind](feature, item, money_text),
                feature=feature.name,
                value=item.value,
                baseline=None if math.isnan(item.baseline) else float(f"{item.baseline:.7g}"),
                rarity=item.rarity,
            )
        )
    return reasons or [NOTHING_KNOWN]


def money(value: float) -> str:
    """Two decimals and thousands separators; more digits for what is smaller than a cent."""
    return f"{value:,.2f}" if value == 0.0 or abs(value) >= 0.01 else f"{value:.3g}"


def number(value: float) -> str:
    """Three significant digits, or a whole number with separators while people can read it."""
    if abs(value) < 1e15 and (abs(value) >= 1_000 or value == int(value)):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def far(value: float) -> str:
    """Kilometres, or kilometres an hour: a tenth of one is nothing."""
    return number(round(value, 1))


def percent(value: float) -> str:
    """Two significant digits."""
    return f"{100 * value:.2g} %"


def span(milliseconds: float) -> str:
    """`24 hours`, `7 days`: a window in its largest whole unit."""
    for size, name in UNITS:
        if milliseconds >= size and milliseconds % size == 0:
            count = int(milliseconds // size)
            if name == "day" and count == 1:
                return "24 hours"
            return f"{count} {name}" + ("" if count == 1 else "s")
    return f"{milliseconds / 1000:.3g} seconds"


def duration(seconds: float) -> str:
    """`4 s`, `12 min`, `5.2 h`, `3.1 d`: a measured time."""
    for size, name in ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{number(seconds / size)} {name}"
    return f"{number(seconds)} s"


def before(feature: Feature) -> str:
    """`hour`, `24 hours`: what goes between `in the` and `before`."""
    return span(feature.window_ms).removeprefix("1 ")


def window(feature: Feature) -> str:
    """`30-day`, `1-hour`."""
    count, _, name = span(feature.window_ms).partition(" ")
    return f"{count}-{name.removesuffix('s')}"


def share(rarity: float) -> str:
    """`99.2 %`: of earlier transactions, with as many nines as there are."""
    percent = 100.0 * (1.0 - rarity)
    decimals = min(4, max(1, math.ceil(-math.log10(max(rarity, 1e-6))) - 1))
    return f"{math.floor(percent * 10**decimals) / 10**decimals:.{decimals}f} %"


def compared(feature: Feature, item: ReasonEvidence, text: Callable[[float], str] = number) -> str:
    """How a value stands among those of earlier transactions; a lone reason may be one that is not rare."""
    low, high = item.typical_low, item.typical_high
    counts = feature.kind in COUNTS or (feature.kind == FeatureKind.NUMERIC and low >= 1.0)
    whole = counts and item.value == int(item.value) and high < WHOLE_MAX
    if whole:
        # of a bin that holds whole numbers the lower edge is the number
        low, high = math.floor(low), math.floor(high)
        if item.rarity <= RARITY_MAX and item.value <= high <= 1.125 * item.value:
            high = item.value - 1  # the range ends in the value's own bin, and of the value it is said that it is rare
            low = min(low, high)
    lowest, highest = text(low), text(high)
    usual = f"usually {lowest}" if lowest == highest else f"usually {lowest} to {highest}"
    if item.rarity > RARITY_MAX:
        unusual = "unusual by itself" if SIDE.get(feature.kind) == EITHER else "unusually high by itself"
        return f"not {unusual} ({usual})"
    side = "lower" if item.low else "higher"
    than = f"{side} than {share(item.rarity)} of earlier transactions"
    ends_here = not whole and low <= item.value <= high  # in the value's own bin: what is rare is not called usual
    return than if ends_here else f"{than} ({usual})"


def several(value: float, noun: str) -> str:
    """`1 card`, `3 cards`, `4 countries`."""
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number(value)} {noun if value == 1 else plural}"


def behind(item: ReasonEvidence) -> str:
    """` (12 transactions)`: what the entity's own mean or maximum rests on, where that is known."""
    return f" ({several(item.rows, 'transaction')})" if item.rows else ""


def _amount(feature: Feature, item: ReasonEvidence, amount: str) -> str:
    return f"{amount} is {compared(feature, item, money)}"


def _to_mean(feature: Feature, item: ReasonEvidence, amount: str) -> str:
    mean = f"{window(feature)} mean of {money(item.baseline)}"
    return f"{amount} is {number(item.value)} times this {feature.entity}'s {mean}{behind(item)}"


def _to_max(feature: Feature, item: ReasonEvidence, amount: str) -> str:
    return (
        f"{amount} is {number(item.value)} times this {feature.entity}'s largest in {span(feature.window_ms)}, "
        f"{money(item.baseline)}{behind(item)}"
    )


def _peak(feature: Feature, item: ReasonEvidence, amount: str) -> str:
    largest = f"this {feature.entity}'s largest amount in the {before(feature)} before"
    return f"{largest} is {number(item.value)} times the mean of all that is remembered, {compared(feature, item)}"


def _deviation(feature: Feature, item: ReasonEvidence, amount: str) -> str:
    side = "above" if item.value >= 0 else "below"
    deviations = f"{number(abs(item.value))} standard deviations"
    return f"{amount} is {deviations} {side} this {feature.entity}'s {window(feature)} mean{behind(item)}"


def _count(feature: Feature, item: ReasonEvidence, amount: str) -> str:
    times = several(item.value, "transaction")
    return f"{times} of this {feature.entity} in the {before(feature)} before, {compared(feature, item)}"


def _sum(feature: Feature, item: ReasonEvidence, amount: str) -> str:
    spent = f"{money(item.value)} spent with this {feature.entity} in the {before(feature)} before"
    return f"{spent}, {compared(feature, item, money)}"


def _since(feature: Feature, item: ReasonEvidence, amount: str) -> str:
    usual = f"usually {duration(item.typical_low)} to {duration(item.typical_high)}"
    after = f"{duration(item.value)} after this {feature.entity}'s previous transaction"
    if item.rarity > RARITY_MAX:
        return f"{after}, not unusually soon by itself ({usual})"
    than = f"{'sooner' if item.low else 'later'} than {share(item.rarity)} of earlier ones"
    ends_here = item.typical_low <= item.value <= item.typical_high
    return f"{'only ' if item.low else ''}{after}, {than}" + ("" if ends_here else f" ({usual})")


def _new(feature: Feature, item: ReasonEvidence, amount: str) -> str:
    known = RECENT_MAX.get(feature.key, RECENT_MAX_OTHERS)
    return f"{feature.key} is none of this {feature.entity}'s last {several(known, f'different {feature.key}')}"


def _distinct(feature: Feature, item: ReasonEvidence, amount: str) -> str:
    seen = f"{several(item.value, feature.key)} seen with this {feature.entity} in {span(feature.window_ms)}"
    return f"{seen}, {compared(feature, item)}"


def _distance(feature: Feature, item: ReasonEvidence, amount: str) -> str:
    return f"{number(item.value)} km from this {feature.entity}'s previous place, {compared(feature, item, far)}"


def _speed(feature: Feature, item: ReasonEvidence, amount: str) -> str:
    needed = f"{number(item.value)} km/h needed from this {feature.entity}'s previous place"
    return f"{needed}, {compared(feature, item, far)}"


def _numeric(feature: Feature, item: ReasonEvidence, amount: str) -> str:
    return f"{feature.column} {number(item.value)} is {compared(feature, item)}"


def _fraud_count(feature: Feature, item: ReasonEvidence, amount: str) -> str:
    frauds = f"{several(item.value, 'fraud')} of this {feature.entity} confirmed in the {before(feature)} before"
    return f"{frauds}, {compared(feature, item)}"


def _fraud_rate(feature: Feature, item: ReasonEvidence, amount: str) -> str:
    rate = f"an estimated {percent(item.value)} of this {feature.entity}'s transactions"
    told = f" ({several(item.rows, 'fraud')})" if item.rows else ""
    return f"by the labels of the {before(feature)} before{told}, {rate} are fraud, {compared(feature, item, percent)}"


def _fraud_age(feature: Feature, item: ReasonEvidence, amount: str) -> str:
    since = f"the first fraud of this {feature.entity} in the {before(feature)} before"
    return f"{since} was confirmed {duration(item.value)} ago"


def _fraud_streak(feature: Feature, item: ReasonEvidence, amount: str) -> str:
    if item.value == 1.0:
        return f"the last transaction of this {feature.entity} that was labelled was a fraud"
    return f"the last {number(item.value)} transactions of this {feature.entity} that were labelled were all frauds"


def _hour(feature: Feature, item: ReasonEvidence, amount: str) -> str:
    return (
        f"at {int(item.value):02d}:00-{int(item.value):02d}:59 UTC, when {100 * item.rarity:.2g} % of transactions come"
    )


def _weekday(feature: Feature, item: ReasonEvidence, amount: str) -> str:
    return f"on a {WEEKDAYS[int(item.value) % 7]}"


SENTENCES: dict[FeatureKind, Sentence] = {
    FeatureKind.AMOUNT: _amount,
    FeatureKind.HOUR: _hour,
    FeatureKind.WEEKDAY: _weekday,
    FeatureKind.NUMERIC: _numeric,
    FeatureKind.COUNT: _count,
    FeatureKind.SUM: _sum,
    FeatureKind.SECONDS_SINCE_LAST: _since,
    FeatureKind.AMOUNT_TO_MEAN: _to_mean,
    FeatureKind.AMOUNT_DEVIATION: _deviation,
    FeatureKind.AMOUNT_TO_MAX: _to_max,
    FeatureKind.NEW: _new,
    FeatureKind.DISTINCT: _distinct,
    FeatureKind.DISTANCE_KM: _distance,
    FeatureKind.SPEED_KMH: _speed,
    FeatureKind.FRAUD_COUNT: _fraud_count,
    FeatureKind.FRAUD_RATE: _fraud_rate,
    FeatureKind.PEAK_TO_MEAN: _peak,
    FeatureKind.FRAUD_AGE: _fraud_age,
    FeatureKind.FRAUD_STREAK: _fraud_streak,
}
