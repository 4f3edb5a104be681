"""The live view on a terminal: one screen, from 80 × 24 upwards, redrawn in place."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.rule import Rule
from rich.status import Status
from rich.table import Table
from rich.text import Text

from detector.demo.display import ReaderGone
from detector.demo.picture import Picture, clock, explanation, headline, quality, reasons, turned_out, what

FRAME_EVERY_S = 0.25
WIDTH_MIN, HEIGHT_MIN = 72, 18
ALERTS_SHOWN = 8
ALERT_LINES_MIN, ALERT_LINES_MAX = 2, 4
INDENT = "    "


def suits(console: Console) -> bool:
    """Whether the view can be drawn there: a terminal that can move its cursor, and is not tiny."""
    return (
        console.is_terminal
        and not console.is_dumb_terminal
        and console.width >= WIDTH_MIN
        and console.height >= HEIGHT_MIN
    )


class View:
    """A Display for terminals."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status | None = None
        self._live: Live | None = None
        self._begun_s = self._step_s = time.monotonic()
        self._step = ""
        self._drawn_s = 0.0

    def step(self, what: str, detail: str = "") -> None:
        """A spinner with the seconds that this step has taken."""
        if what != self._step:
            self._step, self._step_s = what, time.monotonic()
        seconds = time.monotonic() - self._step_s
        text = Text(what)
        text.append(f"  {detail}" if detail else "", "dim")
        text.append(f"  {seconds:.0f} s" if seconds >= 2 else "", "dim")
        text.truncate(max(10, self._console.width - 4), overflow="ellipsis")
        with self._writing():
            if self._status is None:
                self._status = self._console.status(text, spinner="dots")
                self._status.start()
            else:
                self._status.update(text)

    def done(self, what: str) -> None:
        """A line that stays."""
        self._end_status()
        text = Text("✓ ", "green")
        text.append(what, "default")
        text.append(f"  {time.monotonic() - self._begun_s:.1f} s", "dim")
        self._print(text)

    def alert(self, alert: Mapping[str, Any], picture: Picture) -> None:
        """Shown with the next frame."""

    def show(self, picture: Picture) -> None:
        """The next frame, when it is due."""
        now_s = time.monotonic()
        if now_s - self._drawn_s < FRAME_EVERY_S:
            return
        self._drawn_s = now_s
        with self._writing():
            if self._live is None:
                self._end_status()
                self._live = Live(console=self._console, screen=True, auto_refresh=False, transient=True)
                self._live.start()
            self._live.update(frame(picture, self._console.width, self._console.height), refresh=True)

    def leave(self) -> None:
        """Back to the lines that were there before."""
        self._end_status()
        live, self._live = self._live, None
        if live is not None:
            with self._writing():
                live.stop()

    def say(self, text: str) -> None:
        """Lines that stay, wrapped by the terminal."""
        self._end_status()
        self._print(Text(text))

    def _end_status(self) -> None:
        status, self._status = self._status, None
        if status is not None:
            with self._writing():
                status.stop()

    def _print(self, text: Text) -> None:
        with self._writing():
            self._console.print(text, soft_wrap=True)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, SystemExit) as error:  # SystemExit: what rich makes of a broken pipe
            raise ReaderGone from error


def frame(picture: Picture, width: int, height: int) -> RenderableType:
    """One screen of at most `height` lines."""
    top: list[RenderableType] = [
        _title(picture, width),
        Rule(style="dim"),
        _numbers(picture, width),
        Text(_cut(explanation(picture), width), style="dim"),
        Rule("alerts, newest first", align="left", style="dim"),
    ]
    feet = _feet(picture, width)
    room = height - len(top) + 1 - max(len(headline(picture)), len(quality(picture))) - len(feet)
    lines = max(ALERT_LINES_MIN, min(ALERT_LINES_MAX, room // ALERTS_SHOWN))
    alerts: list[RenderableType] = []
    for alert in reversed(picture.alerts):
        block = _alert(alert, picture, width, lines)
        if len(alerts) + len(block) > room:
            break
        alerts += block
    if not alerts:
        alerts = [Text("none yet: the first come as soon as there is something to compare with", style="dim")]
    filler: list[RenderableType] = [Text("")] * (room - len(alerts))
    return Group(*top, *alerts, *filler, *feet)


def _title(picture: Picture, width: int) -> Table:
    if picture.seconds is None:
        until = f"{clock(picture.elapsed_s)}, Ctrl-C ends"
    else:
        until = f"{clock(picture.elapsed_s)} of {clock(picture.seconds)}, Ctrl-C ends"
    table = Table.grid(expand=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_row(Text("Streaming fraud detection on Kafka, exactly once", style="bold"), Text(until))
    return table


def _numbers(picture: Picture, width: int) -> Table:
    table = Table.grid(expand=True, padding=(0, 1))
    for _ in range(2):
        table.add_column(width=12, style="dim", no_wrap=True)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    left, right = headline(picture), quality(picture)
    for row in range(max(len(left), len(right))):
        cells = [*(left[row] if row < len(left) else ("", "")), *(right[row] if row < len(right) else ("", ""))]
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _alert(alert: Mapping[str, Any], picture: Picture, width: int, lines: int) -> list[Text]:
    """One line of facts, then the reasons: one a line where there is room, else all on one."""
    fraud, words = turned_out(alert, picture.truth)
    head = Text(what(alert))
    head.append("  ")
    head.append(words, "bold red" if fraud else "green")
    head.truncate(width, overflow="ellipsis")
    why = reasons(alert)
    if lines - 1 < len(why):
        why = [*why[: lines - 2], "; ".join(why[lines - 2 :])]
    return [head, *(Text(_cut(INDENT + _without_usual(text, width), width), style="dim") for text in why)]


def _feet(picture: Picture, width: int) -> list[RenderableType]:
    topics = picture.topics
    command = f"kcat -b {picture.bootstrap_servers} -t {topics.get('alerts', '')}"
    rows = [
        ("Prometheus", picture.metrics_url),
        ("Kafka", f"{picture.bootstrap_servers}, such as {command}"),
        ("files", f"{picture.folder}, until the end"),
    ]
    if picture.warning:
        rows[-1] = ("detector", picture.warning)
    lines: list[RenderableType] = [Rule("look for yourself", align="left", style="dim")]
    for name, value in rows:
        line = Text(f"{name:<12} ", style="dim")
        line.append(value, "yellow" if name == "detector" else "default")
        line.truncate(width, overflow="ellipsis")
        lines.append(line)
    return lines


def _without_usual(reason: str, width: int) -> str:
    """Where room is short, what is usual goes first: `(usually 6.26 to 130.50)`."""
    return reason if len(reason) + len(INDENT) <= width else re.sub(r" \(usually [^()]*\)", "", reason)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"
