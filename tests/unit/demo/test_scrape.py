"""Figures come from the registry's own text, so that a renamed metric is found here."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from prometheus_client import generate_latest

from detector.demo.scrape import WARM_UP_S, WINDOW_S, Figures, Trend, difference, figures_of, is_ready, quantile, scrape
from detector.observe.metrics import Metrics

INFINITE = float("inf")


def registry_text() -> str:
    metrics = Metrics()
    metrics.transactions_total.labels("pass").inc(1_000)
    metrics.transactions_total.labels("alert").inc(7)
    metrics.dead_letters_total.labels("not_json").inc(3)
    metrics.late_transactions_total.inc(2)
    for partition, lag in (("0", 5), ("1", 6)):
        metrics.lag_records.labels(partition).set(lag)
    metrics.event_time_lag_seconds.labels("0").set(500.0)
    metrics.event_time_lag_seconds.labels("1").set(400.0)
    metrics.end_to_end_seconds.observe_many(np.array([0.012, 0.025, 0.2]))
    metrics.alerts_spent.set(4)
    metrics.alert_budget.set(18)
    metrics.alert_threshold_risk.set(987.5)
    metrics.event_day_seconds.set(43_200)
    metrics.state_entities.labels("card").set(11)
    metrics.state_entities.labels("device").set(22)
    metrics.state_bytes.set(5_000_000)
    metrics.restores_total.labels("assigned").inc(3)
    return generate_latest(metrics.registry).decode()


def some(at_s: float, transactions: int, latency: tuple[tuple[float, float], ...] = ()) -> Figures:
    figures = figures_of(registry_text(), at_s, 1_000.0)
    return replace(figures, transactions=transactions, latency=latency)


def test_every_figure_is_found_in_the_registry() -> None:
    figures = figures_of(registry_text(), 1.0, 1_000.0)
    assert figures.transactions == 1_007
    assert (figures.dead_letters, figures.late, figures.lag_records, figures.restores) == (3, 2, 11, 3)
    assert (figures.alerts_spent, figures.alert_budget, figures.alert_threshold_risk) == (4, 18, 987.5)
    assert figures.event_day_share == 0.5
    assert figures.event_time_ms == 600_000
    assert figures.entities == {"card": 11, "device": 22}
    assert figures.state_bytes == 5_000_000
    assert figures.latency[-1] == (INFINITE, 3.0)


def test_a_registry_without_rows_has_no_event_time() -> None:
    figures = figures_of(generate_latest(Metrics().registry).decode(), 1.0, 1_000.0)
    assert figures.event_time_ms is None
    assert figures.transactions == 0


def test_quantiles_are_linear_within_a_bucket() -> None:
    buckets = ((0.01, 0.0), (0.02, 50.0), (0.04, 100.0), (INFINITE, 100.0))
    assert quantile(buckets, 0.25) == pytest.approx(0.015)
    assert quantile(buckets, 0.5) == pytest.approx(0.02)
    assert quantile(buckets, 0.99) == pytest.approx(0.0396)
    assert quantile(((0.01, 0.0), (INFINITE, 5.0)), 0.5) == pytest.approx(0.01)
    assert quantile((), 0.5) is None
    assert quantile(((0.01, 0.0), (INFINITE, 0.0)), 0.5) is None


def test_a_difference_counts_what_came_in_between() -> None:
    before, now = ((0.1, 1.0), (INFINITE, 2.0)), ((0.1, 4.0), (INFINITE, 7.0))
    assert difference(now, before) == ((0.1, 3.0), (INFINITE, 5.0))
    assert difference(now, ((0.2, 1.0), (INFINITE, 2.0))) == now


def test_the_trend_looks_at_its_window_only() -> None:
    trend = Trend()
    assert trend.rate_per_s is trend.latency_ms(0.5) is trend.event_speed is trend.latest is None
    trend.add(some(0.0, 0))
    for second in range(1, 31):
        trend.add(some(float(second), 10_000 if second < 20 else 10_000 + 100 * (second - 20)))
    assert trend.rate_per_s == pytest.approx(100.0)
    assert len(trend._kept) == WINDOW_S + 1


def test_latency_overall_leaves_the_warm_up_out() -> None:
    trend = Trend()
    slow, fast = ((0.01, 0.0), (1.0, 10.0), (INFINITE, 10.0)), ((0.01, 1_000.0), (1.0, 1_010.0), (INFINITE, 1_010.0))
    trend.add(some(0.0, 0))
    trend.add(some(1.0, 10, slow))
    assert trend.latency_ms(0.99, overall=True) is None
    trend.add(some(1.0 + WARM_UP_S, 10, slow))
    trend.add(some(3.0 + WARM_UP_S, 1_010, fast))
    overall_ms = trend.latency_ms(0.99, overall=True)
    assert overall_ms is not None
    assert overall_ms <= 10.0


@pytest.fixture
def answering() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = registry_text().encode()
            self.send_response(200 if self.path == "/metrics" else 503)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_scrape_goes_past_any_proxy(answering: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert scrape(answering + "/metrics").transactions == 1_007
    assert not is_ready(answering + "/ready")
    assert is_ready(answering + "/metrics")


def test_silence_is_an_error_of_the_system() -> None:
    with pytest.raises(OSError, match="refused"):
        scrape("http://127.0.0.1:1/metrics")
    assert not is_ready("http://127.0.0.1:1/ready")
