"""The last words of the demo: one alert in full, what went through, what was found."""

from __future__ import annotations

import json
from collections.abc import Iterator

from detector.demo.picture import Picture, milliseconds, moment, percent, times_chance, turned_out
from detector.demo.scrape import WARM_UP_S

# Why scores that know no labels find few of these.
HARD = {
    "compromised_terminal": "only labels give it away",
    "compromised_customer": "soon the new normal",
    "large_amount": "some spenders come near it",
}


def summary(picture: Picture) -> Iterator[str]:
    """Lines."""
    figures, truth = picture.trend.latest, picture.truth
    if figures is None or not figures.transactions:
        yield "Nothing was decided."
        return
    if picture.alerts:
        example = next((alert for alert in reversed(picture.alerts) if turned_out(alert, truth)[0]), picture.alerts[-1])
        yield f"One alert as it stands in the topic ({turned_out(example, truth)[1]}):"
        yield json.dumps(example, indent=2, ensure_ascii=False)
        yield ""
    rate = figures.transactions / max(picture.elapsed_s, 1e-9)
    yield (
        f"{figures.transactions:,} transactions in {picture.elapsed_s:.0f} s, {rate:,.0f}/s; event time up to "
        f"{moment(figures.event_time_ms)}"
    )
    yield (
        f"latency from produced to readable, after the first {WARM_UP_S:.0f} s: "
        f"p50 {milliseconds(picture.trend.latency_ms(0.5, True))}, "
        f"p99 {milliseconds(picture.trend.latency_ms(0.99, True))}"
    )
    yield (f"{truth.alerts:,} alerts, {figures.dead_letters:,} dead letters, {figures.lag_records:,} records undecided")
    yield f"precision {percent(truth.precision)}{times_chance(truth.precision)}"
    yield (
        f"recall {percent(truth.recall)} of {truth.frauds.total():,} frauds; the alert budget allows "
        f"{percent(truth.recall_max)}"
    )
    if truth.frauds:
        yield ""
        yield f"{'scenario':<22}{'frauds':>8}{'alerted':>9}{'recall':>9}"
        for scenario, frauds in sorted(truth.frauds.items(), key=lambda item: -truth.caught[item[0]] / item[1]):
            caught = truth.caught[scenario]
            hard = f"  {HARD[scenario]}" if scenario in HARD else ""
            yield f"{scenario.replace('_', ' '):<22}{frauds:>8,}{caught:>9,}{percent(caught / frauds):>9}{hard}"
