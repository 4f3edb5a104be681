"""Shows how far a replay is, on standard error: a bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_EVERY_S = 5.0


class Bar:
    """A context manager: a bar with `beside` it a word that changes, on a terminal; elsewhere nothing is drawn."""

    def __init__(self, doing: str, total: int | None, completed: int, console: Console | None) -> None:
        self._console, self._total = console or Console(stderr=True), total
        self._bar = Progress(
            TextColumn(doing), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[beside]}"),
            TimeElapsedColumn(), TimeRemainingColumn(),
            console=self._console, transient=True, disable=not self._console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=total, completed=completed, beside="")
        self._shown_s = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


class Steps(Bar):
    """So many steps of some seconds or minutes each, `done_before` of them already."""

    def __init__(self, what: str, total: int, done_before: int = 0, console: Console | None = None) -> None:
        super().__init__(what, total, done_before, console)
        self._what, self._done = what, done_before

    def done(self, told: str) -> None:
        """One more; `told` stands beside the bar."""
        self._done += 1
        self._bar.update(self._task, completed=self._done, beside=told)
        now_s = time.monotonic()
        if not self._console.is_terminal and (now_s - self._shown_s >= LINE_EVERY_S or self._done == self._total):
            self._shown_s = now_s
            self._console.print(f"{self._what}: {self._done} of {self._total}, {told}", highlight=False, soft_wrap=True)


class Display(Bar):
    """`total` rows expected, None where unknown. `doing` and `done` say what becomes of them."""

    def __init__(
        self, total: int | None, console: Console | None = None, doing: str = "deciding", done: str = "decided"
    ) -> None:
        super().__init__(doing, total, 0, console)
        self._done = done
        self._began_s = self._shown_s

    def tell(self, line: str) -> None:
        """One line for people."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def preparing(self, what: str, done: int, total: int) -> None:
        """A step before the first row; told as a line only where it takes long, as the first compile does."""
        self._bar.update(self._task, beside=f"compiling {what}, {done} of {total}" if done < total else "")
        if not self._console.is_terminal and time.monotonic() - self._shown_s >= LINE_EVERY_S:
            self._shown_s = time.monotonic()
            self.tell(f"compiling {what}, {done} of {total}")
        self._began_s = time.monotonic()

    def step(self, what: str) -> None:
        """One of `total` steps begins: `what` names it."""
        self._bar.update(self._task, advance=1, beside=what)
        if not self._console.is_terminal:
            self.tell(what)

    def update(self, rows: int) -> None:
        """So many rows are decided."""
        now_s = time.monotonic()
        rate = f"{rows / max(now_s - self._began_s, 1e-9):,.0f}/s"
        self._bar.update(self._task, completed=rows, beside=rate)
        if not self._console.is_terminal and now_s - self._shown_s >= LINE_EVERY_S:
            self._shown_s = now_s
            of = f" of {self._total:,}" if self._total else ""
            self.tell(f"{rows:,} rows{of} {self._done}, {rate}")
