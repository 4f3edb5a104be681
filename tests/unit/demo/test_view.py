"""The picture at every size of terminal, its words, and what happens when nobody reads."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from detector.demo.display import Lines, ReaderGone
from detector.demo.picture import Picture, clock, headline, quality, threshold
from detector.demo.scrape import Figures
from detector.demo.summary import summary
from detector.demo.view import View, frame, suits

SIZES = [(72, 18), (80, 24), (100, 30), (120, 40), (200, 50)]
REASONS = (
    "amount 412.00 EUR is 8.3 times this card's 30-day mean of 49.60",
    "7,165 km/h needed from this card's previous place, higher than 99.85 % of earlier ones (usually 0 to 10.5)",
    "country is [red]new[/red] for this card: not among its last 4",
    "2 transactions of this card in the 1 hour before, higher than 99.15 % of earlier transactions",
)
FIGURES = Figures(
    at_s=0.0, transactions=0, dead_letters=3, late=0, lag_records=41, latency=((0.03, 0.0), (float("inf"), 0.0)),
    alerts_spent=12, alert_budget=18, alert_threshold_risk=987.6, event_day_share=0.5, event_time_ms=1_735_992_720_000,
    entities={"card": 9_000, "device": 1_000}, state_bytes=61_000_000, restores=3,
)  # fmt: skip


def alert(number: int, **fields: Any) -> dict[str, Any]:
    reasons = [{"code": "x", "text": text, "feature": "amount", "value": 1.0} for text in REASONS]
    return {
        "alert_id": f"transactions-0-{number}", "transaction_id": f"tx-{number}", "event_time": 1_735_992_720_000,
        "risk_score": 998.71, "card_id": f"card-{number:06}", "amount": 1_412.0, "currency": "EUR", "reasons": reasons,
        **fields,
    }  # fmt: skip


@pytest.fixture
def picture() -> Picture:
    picture = Picture(60.0, "127.0.0.1:9092", "http://127.0.0.1:9464/metrics", "/tmp/demo", {"alerts": "alerts"}, 42.0)
    for second in range(8):
        latency = ((0.03, 300.0 * second), (0.06, 600.0 * second), (float("inf"), 600.0 * second))
        picture.trend.add(replace(FIGURES, at_s=float(second), transactions=3_000 * second, latency=latency))
    for number in range(20):
        picture.truth.label(f"tx-{number}", number % 2 == 0, "card_testing")
        picture.truth.alert(f"tx-{number}")
        picture.alerts.append(alert(number))
    return picture


def drawn(picture: Picture, width: int, height: int, **options: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, highlight=False, **options)
    with console.capture() as capture:
        console.print(frame(picture, width, height))
    return capture.get().splitlines()


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_frame_fits_and_holds_the_figures(picture: Picture, width: int, height: int) -> None:
    lines = drawn(picture, width, height)
    assert len(lines) == height
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for expected in (
        "3,000 transactions",
        "21,000",
        "41 records",
        "p50 30 ms",
        "50.0 %",
        "12 of 18",
        "2025-01-04 12:12",
    ):
        assert expected in text
    assert "http://127.0.0.1:9464/metrics" in text
    assert "127.0.0.1:9092" in text
    assert "card-000019" in text
    assert "risk 998.7" in text
    assert "00:42 of 01:00" in text


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_reasons_stand_as_they_are(picture: Picture, width: int, height: int) -> None:
    text = "\n".join(drawn(picture, width, height))
    assert "amount 412.00 EUR is 8.3 times" in text
    if width == 200:
        assert "country is [red]new[/red] for this card" in text


def test_the_truth_of_each_alert_is_told(picture: Picture) -> None:
    heads = [line for line in drawn(picture, 120, 40) if "card-0000" in line]
    assert [("genuine" in head, "fraud: card testing" in head) for head in heads[:2]] == [(True, False), (False, True)]


def test_the_newest_alert_comes_first(picture: Picture) -> None:
    heads = [line for line in drawn(picture, 120, 40) if "card-0000" in line]
    assert len(heads) >= 6
    assert heads == sorted(heads, key=lambda head: head[head.index("card-") :], reverse=True)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_before_the_first_figures_the_frame_stands_too(width: int, height: int) -> None:
    lines = drawn(Picture(None), width, height)
    assert len(lines) == height
    assert "Ctrl-C ends" in lines[0]


def test_alerts_with_little_in_them_are_shown(picture: Picture) -> None:
    picture.alerts.append(alert(99, card_id=None, amount=None, currency=None, reasons=[]))
    assert any("no single feature stands out" in line for line in drawn(picture, 80, 24))


def test_a_warning_takes_a_line_of_the_feet(picture: Picture) -> None:
    picture.warning = "warning broker away"
    lines = drawn(picture, 80, 24)
    assert len(lines) == 24
    assert "warning broker away" in lines[-1]


def test_without_colour_the_words_are_the_same(picture: Picture) -> None:
    plain = drawn(picture, 100, 30, force_terminal=True, no_color=True)
    assert not any(f"\x1b[{code}m" in line for line in plain for code in (31, 32, 33))
    assert any("fraud: card testing" in line for line in plain)


def test_which_terminals_the_view_suits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert suits(Console(file=io.StringIO(), force_terminal=True, width=80, height=24))
    assert not suits(Console(file=io.StringIO(), force_terminal=True, width=40, height=24))
    assert not suits(Console(file=io.StringIO(), force_terminal=True, width=80, height=10))
    assert not suits(Console(file=io.StringIO(), width=80, height=24))
    monkeypatch.setenv("TERM", "dumb")
    assert not suits(Console(file=io.StringIO(), force_terminal=True, width=80, height=24))


def test_the_view_leaves_the_terminal_as_it_was(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = io.StringIO()
    view = View(Console(file=out, force_terminal=True, width=80, height=24))
    view.step("Starting", "first: 1/2")
    view.done("Started")
    view.show(picture)
    view.leave()
    view.leave()
    view.say("The end.")
    text = out.getvalue()
    assert text.index("\x1b[?1049h") < text.index("3,000 transactions/s") < text.index("\x1b[?1049l")
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert text.rstrip().endswith("The end.")


def test_a_terminal_that_is_gone_ends_the_view(picture: Picture) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    view = View(Console(file=Gone(), force_terminal=True, width=80, height=24))
    with pytest.raises(ReaderGone):
        view.say("anybody?")


def test_a_closed_pipe_ends_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        with pytest.raises(ReaderGone):
            Lines().say("anybody?")
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)  # what is buffered has to go somewhere


def test_lines_say_what_changes_and_that_they_are_still_at_it(
    picture: Picture, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [0.0]
    monkeypatch.setattr("detector.demo.display.time.monotonic", lambda: now_s[0])
    lines = Lines()
    for now_s[0] in (0.0, 1.0, 2.0, 12.5):
        lines.step("Starting", "first")
    lines.step("Starting", "second")
    lines.done("Started")
    assert capsys.readouterr().out.splitlines() == [
        "Starting: first ...", "Starting: first ... (12 s)", "Starting: second ...", "Started [12.5 s]",
    ]  # fmt: skip
    lines.show(picture)
    lines.show(picture)
    lines.alert(picture.alerts[0], picture)
    first, figures, told = capsys.readouterr().out.splitlines()
    assert "1 % of payments are fraud" in first
    assert figures.startswith("42 s: 3,000/s, 21,000 transactions, lag 41, p50 30 ms, p99 59 ms")
    assert told.startswith("ALERT 01-04 12:12  card-000004")
    assert told.endswith(REASONS[-1])


def test_the_summary_tells_what_was_found(picture: Picture) -> None:
    text = "\n".join(summary(picture))
    for expected in (
        "21,000 transactions in 42 s, 500/s", "p50 ", "20 alerts, 3 dead letters", "precision 50.0 %, 50 times chance",
        "recall 100.0 % of 10 frauds", "card testing                10       10  100.0 %", '"risk_score": 998.71',
        REASONS[0],
    ):  # fmt: skip
        assert expected in text


def test_the_summary_of_nothing() -> None:
    assert list(summary(Picture(None))) == ["Nothing was decided."]


def test_times_are_read_by_people() -> None:
    assert [clock(seconds) for seconds in (0, 61, 3_599, 3_661)] == ["00:00", "01:01", "59:59", "1:01:01"]


def test_numbers_line_up_with_their_names(picture: Picture) -> None:
    assert len(headline(picture)) == len(quality(picture))
    assert Path(picture.folder).name == "demo"


def test_a_budget_that_is_spent_is_said_rather_than_a_threshold() -> None:
    assert threshold(FIGURES) == "risk 987.6 of 1000 now"
    assert threshold(replace(FIGURES, alerts_spent=18)) == "tomorrow: today's budget is spent"
