"""`detector demo`: put everything up, show it, take everything down.

Law: it ends in one of four ways (the time is over; asked by SIGINT, SIGTERM or SIGHUP, or by a reader who goes away; a
child ended by itself; set-up failed), and each of them takes down all that was put up.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from detector.demo.children import ChildEnded
from detector.demo.display import Display, Lines, ReaderGone, silence
from detector.demo.feed import Feed
from detector.demo.picture import Picture
from detector.demo.scrape import scrape
from detector.demo.stage import Stage, Stopped, Unavailable
from detector.demo.summary import summary

EXIT_OK, EXIT_INTERNAL = 0, 70
TURN_S = 0.1
SCRAPE_EVERY_S = 1.0
LABEL_WAIT_S = 0.5  # an alert is told when its label, sent right behind the transaction, has come
DRAIN_S_MAX = 20.0
QUIET_S = 1.0


class Asked:
    """Counts the signals that ask to end: the first ends in order, a second one at once."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> bool:
        """Whether asked."""
        return self.times > 0

    def twice(self) -> bool:
        """Whether asked again."""
        return self.times > 1


def run(seconds: float | None = None, bootstrap_servers: str = "") -> int:
    """Run the demo for `seconds` after set-up, None: until asked to end; returns the exit code.

    `bootstrap_servers`: use this broker, under names of our own, instead of starting one. 0 when the time is over or
    somebody asked to end; 69 without a broker; else that of the child that failed, or 70.
    """
    display = _display()
    with _signals() as asked:
        try:
            return _run(seconds, bootstrap_servers, display, asked)
        except ReaderGone:
            silence()
            return EXIT_OK


def _run(seconds: float | None, bootstrap_servers: str, display: Display, asked: Asked) -> int:
    stage = Stage(bootstrap_servers, display, asked)
    try:
        code = _play(stage, seconds, display, asked)
    finally:
        with suppress(ReaderGone):
            display.leave()
        left = stage.close(asked.twice)
    if left:
        display.say("could not be removed: " + "; ".join(left))
        return code or EXIT_INTERNAL
    return code


def _play(stage: Stage, seconds: float | None, display: Display, asked: Asked) -> int:
    try:
        stage.put_up()
        show = Show(stage, Picture(seconds), display)
        try:
            show.run(asked)
        finally:
            show.close()
    except (ChildEnded, Unavailable) as failure:
        display.leave()
        display.say(f"The demo cannot go on: {failure}")
        return failure.exit_code
    except Stopped:
        display.say("Ended during set-up.")
    return EXIT_OK


class Show:
    """From the first transaction to the summary."""

    def __init__(self, stage: Stage, picture: Picture, display: Display) -> None:
        self._stage, self._picture, self._display = stage, picture, display
        self._feed = Feed(stage.bootstrap_servers, stage.plan.topics, f"{stage.plan.application_id}-view")
        self._untold: list[tuple[float, dict[str, Any]]] = []
        self._scraped_s = 0.0
        picture.bootstrap_servers = stage.bootstrap_servers
        picture.metrics_url = stage.http_url + "/metrics"
        picture.folder, picture.topics = str(stage.folder), stage.plan.topics

    def run(self, asked: Asked) -> None:
        """Until the time is over, with what is under way decided, or until asked; then the summary."""
        picture, stage, display = self._picture, self._stage, self._display
        stage.start_simulator()
        begun_s = time.monotonic()
        while not asked() and (picture.seconds is None or picture.elapsed_s < picture.seconds):
            self._turn(TURN_S)
            picture.elapsed_s = time.monotonic() - begun_s
            display.show(picture)
        display.leave()
        if not asked():
            display.step("Letting the last transactions be decided")
            self._drain(asked)
        self._scrape()
        for line in summary(picture):
            display.say(line)
        display.step("Ending")

    def close(self) -> None:
        """Stop reading."""
        self._feed.close()

    def _turn(self, wait_s: float) -> None:
        self._stage.check()
        for heard in self._feed.read(wait_s):
            self._take(heard.role, heard.value)
        now_s = time.monotonic()
        self._tell(now_s - LABEL_WAIT_S)
        if now_s - self._scraped_s >= SCRAPE_EVERY_S:
            self._scraped_s = now_s
            self._scrape()

    def _take(self, role: str, value: dict[str, Any]) -> None:
        truth = self._picture.truth
        if role == "labels":
            truth.label(value["transaction_id"], value["is_fraud"], value.get("scenario") or "unknown")
        else:
            truth.alert(value["transaction_id"])
            self._untold.append((time.monotonic(), value))

    def _tell(self, before_s: float) -> None:
        while self._untold and self._untold[0][0] <= before_s:
            alert = self._untold.pop(0)[1]
            self._picture.alerts.append(alert)
            self._display.alert(alert, self._picture)

    def _scrape(self) -> None:
        try:
            self._picture.trend.add(scrape(self._picture.metrics_url))
            self._picture.warning = self._stage.warning()
        except (OSError, ValueError) as error:
            self._picture.warning = f"no figures from {self._picture.metrics_url}: {error}"

    def _drain(self, asked: Asked) -> None:
        """The simulator ends, the detector decides what is there, and we read what comes of it."""
        self._stage.stop_simulator()
        end_s = time.monotonic() + DRAIN_S_MAX
        self._scraped_s = 0.0
        before = -1
        while time.monotonic() < end_s and not asked():
            self._turn(TURN_S)
            figures = self._picture.trend.latest
            if figures is not None and self._scraped_s > end_s - DRAIN_S_MAX + SCRAPE_EVERY_S:
                if not figures.lag_records and figures.transactions == before:
                    break
                before = figures.transactions
        for heard in self._feed.read_rest(QUIET_S, QUIET_S * 3):
            self._take(heard.role, heard.value)
        self._tell(time.monotonic())


def _display() -> Display:
    from rich.console import Console

    from detector.demo.view import View, suits

    console = Console(highlight=False)
    return View(console) if suits(console) else Lines()


@contextmanager
def _signals() -> Iterator[Asked]:
    asked = Asked()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        asked.times += 1

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
