"""How far the bench is, on standard error: bars on a terminal, a line a finished step elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class Bar:
    """A context manager around all steps."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bars = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            console=self._console, transient=True, disable=not self._console.is_terminal,
        )  # fmt: skip

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def tell(self, line: str) -> None:
        """One line for people."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def step(self, what: str, rows: int | None) -> Iterator[Callable[[int], None]]:
        """A step of so many rows (None: unknown until its end); hands out what tells of rows done."""
        began_s = time.monotonic()
        task = self._bars.add_task(what, total=rows)
        yield lambda done: self._bars.advance(task, done)
        self._bars.remove_task(task)
        self.tell(f"{what}: {time.monotonic() - began_s:.1f} s")
