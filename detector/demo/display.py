"""Where the demo speaks: what every kind of display can do, and the one of plain lines.

Law: a reader who goes away (a closed terminal, a broken pipe) ends the demo as Ctrl-C would, never with a traceback.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol

from detector.demo.picture import Picture, explanation, line, reasons, turned_out, what

LINE_EVERY_S = 5.0
STILL_EVERY_S = 10.0  # says that it is still at it


class ReaderGone(Exception):
    """Nobody reads any more."""


class Display(Protocol):
    """What the demo needs. Every method raises ReaderGone."""

    def step(self, what: str, detail: str = "") -> None:
        """Set-up is at this; call often, it shows that nothing hangs."""

    def done(self, what: str) -> None:
        """That is done."""

    def alert(self, alert: Mapping[str, Any], picture: Picture) -> None:
        """An alert, about a second after it came, when its label has come too."""

    def show(self, picture: Picture) -> None:
        """The picture now; call often."""

    def leave(self) -> None:
        """The picture is over; from here on only `step`, `done` and `say`."""

    def say(self, text: str) -> None:
        """Lines that stay."""


class Lines:
    """Plain lines on standard output, for files, pipes and dumb terminals."""

    def __init__(self) -> None:
        self._begun_s = self._spoke_s = time.monotonic()
        self._step = ""
        self._step_s = 0.0
        self._shown_s = -LINE_EVERY_S

    def step(self, what: str, detail: str = "") -> None:
        """A line where something has changed, and one every ten seconds where nothing has."""
        text = what + (f": {detail}" if detail else "")
        now_s = time.monotonic()
        if text != self._step:
            self._step, self._step_s = text, now_s
            self.say(f"{text} ...")
        elif now_s - self._spoke_s > STILL_EVERY_S:
            self.say(f"{text} ... ({now_s - self._step_s:.0f} s)")

    def done(self, what: str) -> None:
        """With the seconds since the start."""
        self.say(f"{what} [{time.monotonic() - self._begun_s:.1f} s]")

    def alert(self, alert: Mapping[str, Any], picture: Picture) -> None:
        """One line."""
        _, truth = turned_out(alert, picture.truth)
        self.say(f"ALERT {what(alert)}  ({truth})  {'; '.join(reasons(alert))}")

    def show(self, picture: Picture) -> None:
        """A line every five seconds."""
        figures = picture.trend.latest
        if picture.elapsed_s - self._shown_s < LINE_EVERY_S or figures is None or not figures.transactions:
            return
        if self._shown_s < 0:
            self.say(explanation(picture))
        self._shown_s = picture.elapsed_s
        self.say(f"{picture.elapsed_s:.0f} s: {line(picture)}")
        if picture.warning:
            self.say(picture.warning)

    def leave(self) -> None:
        """Lines need no leaving."""

    def say(self, text: str) -> None:
        """Printed at once."""
        self._spoke_s = time.monotonic()
        try:
            print(text, flush=True)
        except (OSError, ValueError) as error:
            raise ReaderGone from error


def silence() -> None:
    """Nobody reads: let whatever is still printed, by Python's own exit too, go nowhere."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
