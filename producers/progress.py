"""Shows where a run is: a bar on a terminal, a plain line every few seconds elsewhere. Writes to standard error."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from producers.run import Tally
from schemas.times import rfc3339_text

LINE_EVERY_S = 5.0
BAR_EVERY_S = 0.1


class Display:
    """A context manager that `run` tells its tally. `total` transactions expected, None where unknown; `quiet` shows
    nothing but what `tell` is given.
    """

    def __init__(self, total: int | None, quiet: bool = False, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._total = total
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._lines = not quiet and not self._console.is_terminal
        if not quiet and self._console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
                TimeElapsedColumn(), TimeRemainingColumn(), console=self._console, transient=True,
            )  # fmt: skip
            self._task = self._progress.add_task("transactions", total=total, rate="")
        self._start_s = self._shown_s = time.monotonic()
        self._shown = 0

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def tell(self, line: str) -> None:
        """One line for people, above the bar where there is one."""
        if self._progress is not None:
            self._progress.console.print(line, highlight=False, markup=False, soft_wrap=True)
        else:
            click.echo(line, err=True)

    def update(self, tally: Tally) -> None:
        """Shows the tally, not more often than people can read."""
        now_s = time.monotonic()
        since_s = now_s - self._shown_s
        if since_s < (BAR_EVERY_S if self._progress is not None else LINE_EVERY_S):
            return
        rate = f"{(tally.transactions - self._shown) / since_s:,.0f}/s"
        self._shown_s, self._shown = now_s, tally.transactions
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=tally.transactions, rate=rate)
        elif self._lines:
            of = f" of about {self._total:,}" if self._total else ""
            self.tell(f"{tally.transactions:,} transactions{of}, {tally.labels:,} labels, {rate}")

    def summary(self, tally: Tally, where: str) -> None:
        """The last line: what was sent, where, how fast, over which event time."""
        seconds = max(time.monotonic() - self._start_s, 1e-9)
        share = f" ({tally.frauds / tally.transactions:.2%} known fraud)" if tally.frauds else ""
        span = ""
        if tally.first_event_time_ms and tally.event_time_ms:
            span = f", event time {rfc3339_text(tally.first_event_time_ms)} to {rfc3339_text(tally.event_time_ms)}"
        self.tell(
            f"{tally.transactions:,} transactions{share} and {tally.labels:,} labels to {where} in {seconds:.1f} s, "
            f"{tally.transactions / seconds:,.0f}/s{span}"
        )
