"""What there is to show at one moment, and how its numbers read; no terminal is known here."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from detector.demo.plan import ALERTS_PER_DAY, FRAUD_SHARE
from detector.demo.scrape import Figures, Trend
from detector.demo.truth import Truth

ALERTS_KEPT = 16


@dataclass(slots=True)
class Picture:
    """The run so far. `seconds` None: until Ctrl-C. `alerts` holds the newest last, as they stand in the topic."""

    seconds: float | None
    bootstrap_servers: str = ""
    metrics_url: str = ""
    folder: str = ""
    topics: Mapping[str, str] = field(default_factory=dict)
    elapsed_s: float = 0.0
    trend: Trend = field(default_factory=Trend)
    truth: Truth = field(default_factory=Truth)
    alerts: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=ALERTS_KEPT))
    warning: str = ""


def headline(picture: Picture) -> list[tuple[str, str]]:
    """What streams: (name, value)."""
    figures, trend = picture.trend.latest, picture.trend
    if figures is None:
        return [("rate", "waiting for the first figures")]
    rate = trend.rate_per_s
    entities = sum(figures.entities.values())
    return [
        ("rate", "–" if rate is None else f"{rate:,.0f} transactions/s"),
        ("transactions", f"{figures.transactions:,}"),
        ("lag", f"{figures.lag_records:,} records"),
        ("latency", f"p50 {milliseconds(trend.latency_ms(0.5))}, p99 {milliseconds(trend.latency_ms(0.99))}"),
        ("event time", moment(figures.event_time_ms)),
        ("state", f"{entities:,} entities, {figures.state_bytes / 1e6:,.0f} MB"),
    ]


def quality(picture: Picture) -> list[tuple[str, str]]:
    """What comes of it: (name, value)."""
    figures, truth = picture.trend.latest, picture.truth
    rows = [
        ("alerts", f"{truth.alerts:,}, {truth.caught.total():,} of them fraud"),
        ("precision", f"{percent(truth.precision)}{times_chance(truth.precision)}"),
        ("recall", f"{percent(truth.recall)}, budget allows {percent(truth.recall_max)}"),
    ]
    if figures is not None and figures.transactions:
        spent = f"{figures.alerts_spent} of {figures.alert_budget}"
        rows += [
            ("budget today", f"{spent}, day {100 * figures.event_day_share:.0f} % gone"),
            ("alert from", threshold(figures)),
            ("dead letters", f"{figures.dead_letters:,}"),
        ]
    return rows


def threshold(figures: Figures) -> str:
    """The risk from which a transaction is an alert now."""
    if figures.alert_budget and figures.alerts_spent >= figures.alert_budget:
        return "tomorrow: today's budget is spent"
    return f"risk {figures.alert_threshold_risk:.1f} of 1000 now"


def line(picture: Picture) -> str:
    """The same, as short as one line wants it."""
    figures, trend, truth = picture.trend.latest, picture.trend, picture.truth
    if figures is None:
        return "waiting for the first figures"
    return (
        f"{trend.rate_per_s or 0.0:,.0f}/s, {figures.transactions:,} transactions, lag {figures.lag_records:,}, "
        f"p50 {milliseconds(trend.latency_ms(0.5))}, p99 {milliseconds(trend.latency_ms(0.99))}, "
        f"{truth.alerts:,} alerts, precision {percent(truth.precision)}, recall {percent(truth.recall)} "
        f"(budget allows {percent(truth.recall_max)}), budget today {figures.alerts_spent} of {figures.alert_budget}, "
        f"{figures.state_bytes / 1e6:,.0f} MB of state"
    )


def explanation(picture: Picture) -> str:
    """Why the numbers are what they are."""
    speed = picture.trend.event_speed
    pace = f"A simulated day takes {86_400 / speed:.0f} s. " if speed and speed > 1 else ""
    return f"{pace}{100 * FRAUD_SHARE:.0f} % of payments are fraud; people can check {ALERTS_PER_DAY} alerts a day."


def times_chance(precision: float | None) -> str:
    """How much better than alerts by lot."""
    return "" if precision is None else f", {precision / FRAUD_SHARE:.0f} times chance"


def percent(share: float | None) -> str:
    """`12.3 %`, a dash for none."""
    return "–" if share is None else f"{100 * share:.1f} %"


def milliseconds(value: float | None) -> str:
    """`31 ms`, a dash for none."""
    return "–" if value is None else f"{value:,.0f} ms"


def moment(event_time_ms: float | None) -> str:
    """`2025-01-04 07:12`, UTC."""
    if event_time_ms is None:
        return "–"
    return datetime.fromtimestamp(event_time_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M")


def clock(seconds: float) -> str:
    """`1:02:03` or `02:03`."""
    whole = int(seconds)
    hours, minutes = whole // 3_600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes:02}:{whole % 60:02}"


def what(alert: Mapping[str, Any]) -> str:
    """When, who, how much, how risky; the year stands elsewhere."""
    amount = "" if alert.get("amount") is None else f"{alert['amount']:,.2f} {alert.get('currency') or ''}"
    when = moment(alert["event_time"])[5:]
    return f"{when}  {alert.get('card_id') or '–'}  {amount:>12}  risk {alert['risk_score']:.1f}"


def turned_out(alert: Mapping[str, Any], truth: Truth) -> tuple[bool, str]:
    """Whether it is fraud by the labels, and that in words."""
    scenario = truth.scenario(str(alert["transaction_id"]))
    return scenario is not None, "genuine" if scenario is None else f"fraud: {scenario.replace('_', ' ')}"


def reasons(alert: Mapping[str, Any]) -> list[str]:
    """The reasons' sentences, strongest first."""
    return [str(reason["text"]) for reason in alert.get("reasons", ())] or ["no single feature stands out"]
