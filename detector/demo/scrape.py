"""What the detector says of itself, read the way Prometheus reads it."""

from __future__ import annotations

import math
import time
import urllib.request
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_S = 2.0
WARM_UP_S = 5.0  # first fetches, first pivots: not what a running detector is like
WINDOW_S = 10.0  # of the rate and of the latencies shown
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the detector is on this machine
LATENCY = "detector_end_to_end_seconds"

Buckets = tuple[tuple[float, float], ...]
"""Upper bounds in seconds, the last infinite, and how many lie at or below each."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One scrape. Counts since the detector's start; `at_s` monotonic; `event_time_ms` None before the first row."""

    at_s: float
    transactions: int
    dead_letters: int
    late: int
    lag_records: int
    latency: Buckets
    alerts_spent: int
    alert_budget: int
    alert_threshold_risk: float
    event_day_share: float
    event_time_ms: int | None
    entities: dict[str, int]
    state_bytes: int
    restores: int


@dataclass(slots=True)
class Trend:
    """The last WINDOW_S seconds of scrapes, and the one that ended the warm-up."""

    _kept: deque[Figures] = field(default_factory=deque)
    _begun_s: float | None = None
    _warm: Figures | None = None

    def add(self, figures: Figures) -> None:
        """The newest scrape."""
        if self._begun_s is None and figures.transactions:
            self._begun_s = figures.at_s
        if self._warm is None and self._begun_s is not None and figures.at_s - self._begun_s >= WARM_UP_S:
            self._warm = figures
        self._kept.append(figures)
        while figures.at_s - self._kept[0].at_s > WINDOW_S:
            self._kept.popleft()

    @property
    def latest(self) -> Figures | None:
        """The newest scrape, None before the first."""
        return self._kept[-1] if self._kept else None

    @property
    def rate_per_s(self) -> float | None:
        """Transactions a second over the window."""
        if len(self._kept) < 2:
            return None
        first, last = self._kept[0], self._kept[-1]
        return (last.transactions - first.transactions) / (last.at_s - first.at_s)

    @property
    def event_speed(self) -> float | None:
        """Seconds of event time that pass in a second, over the window."""
        if len(self._kept) < 2:
            return None
        first, last = self._kept[0], self._kept[-1]
        if first.event_time_ms is None or last.event_time_ms is None:
            return None
        return (last.event_time_ms - first.event_time_ms) / 1_000 / (last.at_s - first.at_s)

    def latency_ms(self, share: float, overall: bool = False) -> float | None:
        """Quantile of the end-to-end latency over the window, or over all that came after WARM_UP_S seconds."""
        before = self._warm if overall else self._kept[0] if self._kept else None
        if before is None:
            return None
        seconds = quantile(difference(self._kept[-1].latency, before.latency), share)
        return None if seconds is None else 1_000 * seconds


def scrape(url: str) -> Figures:
    """Raises OSError when the detector does not answer, ValueError when it answers nonsense."""
    with _opener.open(url, timeout=TIMEOUT_S) as answer:
        return figures_of(answer.read().decode("utf-8"), time.monotonic(), time.time())


def is_ready(url: str) -> bool:
    """Whether `/ready` says yes; False also when nobody answers."""
    try:
        with _opener.open(url, timeout=TIMEOUT_S) as answer:
            return bool(answer.status == 200)
    except OSError:  # HTTPError is one
        return False


def figures_of(text: str, at_s: float, wall_s: float) -> Figures:
    """The exposition text as figures."""
    total: dict[str, float] = {}
    entities: dict[str, int] = {}
    buckets: list[tuple[float, float]] = []
    event_lag_s: list[float] = []
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            total[sample.name] = total.get(sample.name, 0.0) + sample.value
            if sample.name == LATENCY + "_bucket":
                buckets.append((float(sample.labels["le"]), sample.value))
            elif sample.name == "detector_state_entities":
                entities[sample.labels["entity"]] = int(sample.value)
            elif sample.name == "detector_event_time_lag_seconds":
                event_lag_s.append(sample.value)

    def count(name: str) -> int:
        return int(total.get("detector_" + name, 0.0))

    return Figures(
        at_s=at_s,
        transactions=count("transactions_total"),
        dead_letters=count("dead_letters_total"),
        late=count("late_transactions_total"),
        lag_records=count("lag_records"),
        latency=tuple(sorted(buckets)),
        alerts_spent=count("alerts_spent"),
        alert_budget=count("alert_budget"),
        alert_threshold_risk=total.get("detector_alert_threshold_risk", 0.0),
        event_day_share=total.get("detector_event_day_seconds", 0.0) / 86_400,
        event_time_ms=int(1_000 * (wall_s - min(event_lag_s))) if event_lag_s else None,
        entities=entities,
        state_bytes=count("state_bytes"),
        restores=count("restores_total"),
    )


def difference(now: Buckets, before: Buckets) -> Buckets:
    """What came in between; all of `now` where the bounds differ, as after a restart."""
    if [bound for bound, _ in now] != [bound for bound, _ in before]:
        return now
    return tuple((bound, count - old) for (bound, count), (_, old) in zip(now, before, strict=True))


def quantile(buckets: Sequence[tuple[float, float]], share: float) -> float | None:
    """As Prometheus' histogram_quantile: linear within a bucket; the last finite bound stands for all beyond it."""
    total = buckets[-1][1] if buckets else 0.0
    if total <= 0:
        return None
    low, below = 0.0, 0.0
    for bound, count in buckets:
        if count >= share * total:
            if math.isinf(bound):
                return low
            return low + (bound - low) * (share * total - below) / max(count - below, 1e-9)
        low, below = bound, count
    return low
