"""`detector replay`: decide a file with the core that runs live, without Kafka.

Laws: the payloads are those that `producers replay` publishes (`schemas.files`), so decisions equal those of
`detector run` on a topic that this file was replayed into (see `fold`); memory does not grow with the file, except for
some 18 bytes a row where quality is asked for; the output is complete or not there.

Reading ahead runs in a thread of its own: the kernels let go of the interpreter, so the file is parsed meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

from detector.codec.decode import Reject
from detector.core.compile import compile_kernels
from detector.lab.errors import InputStopped, NotConfigured, WrongUsage
from detector.lab.fold import DecidedRows, Fold, fault
from detector.lab.labels import LABEL_INTERVAL_MS, FileLabels, Labels, learning, truth_of
from detector.lab.output import Writer, opened
from detector.lab.progress import Display
from detector.lab.summary import Tally, Truths, label_lines, live_lines, quality_lines
from detector.settings import Settings
from schemas.files import FileError, payloads, row_count, text_columns
from schemas.members import Members

BATCH_ROWS = 8_192
PARTITIONS_BATCHED = 8  # batches grow with the partitions up to here, so that each task gets rows enough for a step

Batch = TypeVar("Batch")


def run(
    settings: Settings,
    source: Path,
    output: Path,
    partitions: int = 1,
    *,
    limit: int | None = None,
    topic: str | None = None,
    labels_column: str | None = None,
    labels_file: Path | None = None,
    label_delay_ms: int | None = None,
    label_interval_ms: int = LABEL_INTERVAL_MS,
) -> int:
    """Decide the first `limit` rows of `source` (all by default) into `output`; returns the exit code, 0.

    `topic` names the input in default ids, the settings' by default; `labels_column` (a path in the row's JSON; see
    `truth_of`) adds quality to the summary. With `labels_file`, or with `label_delay_ms`, the truth is also learned
    as it arrives (`detector.lab.labels`), `labels.enabled` or not. Raises LabError, which carries its exit code, and
    ConfigError.
    """
    if "event_time" not in settings.mapping.fields:
        raise NotConfigured(
            "input.fields.event_time: expected a path, for a file has no record timestamps to serve instead; map it"
        )
    if output.exists() and output.samefile(source):
        raise WrongUsage(f"--output {output}: expected another file than the input")
    try:
        live = settings.labels.enabled
        settings, labels = learning(settings, labels_column, labels_file, label_delay_ms)
        fold = Fold(settings, topic or settings.topics.transactions, partitions, labels, label_interval_ms)
        rows = row_count(source)
        batches = payloads(
            source, None, limit, text_columns(settings.mapping), BATCH_ROWS * min(partitions, PARTITIONS_BATCHED)
        )
        total = limit if rows is None else min(rows, limit or rows)
        with Display(total) as display, opened(output, fold.members) as writer:
            lines = _Replay(settings, fold, writer, display, labels_column, labels).run(batches)
    except FileError as error:
        raise InputStopped(str(error)) from error
    except ImportError as error:
        raise NotConfigured(str(error)) from error
    for line in [*lines, *live_lines(live, labels is not None)]:
        display.tell(line)
    return 0


class _Replay:
    """One run: batches through the fold into the writer."""

    def __init__(
        self,
        settings: Settings,
        fold: Fold,
        writer: Writer,
        display: Display,
        labels_column: str | None,
        labels: Labels | None,
    ) -> None:
        self._fold, self._writer, self._display = fold, writer, display
        self._rejects = RejectWindow(settings.input.rejects_window_rows, settings.input.rejects_max_share)
        self._learned = labels
        by_file = isinstance(labels, FileLabels)
        self._truth_from = "the labels" if by_file else labels_column
        self._labels = Members({"truth": labels_column}) if labels_column is not None and labels is None else None
        self._tally, self._truths = Tally(), Truths(fold.members)
        self._spent_s = {"wait for the file": 0.0, "write": 0.0}

    def run(self, batches: Iterator[list[bytes]]) -> list[str]:
        """All batches; returns the summary. Raises InputStopped."""
        compile_kernels(self._fold.spec, self._display.preparing)
        began_s = asked_s = time.perf_counter()
        for batch in ahead(batches):
            self._spent_s["wait for the file"] += time.perf_counter() - asked_s
            self._take(batch)
            asked_s = time.perf_counter()
        self._rejects.end()
        return self._summary(time.perf_counter() - began_s)

    def _take(self, batch: list[bytes]) -> None:
        decided = self._fold.decide(batch)
        decided_s = time.perf_counter()
        self._writer.write(decided)
        self._spent_s["write"] += time.perf_counter() - decided_s
        self._tally.add(decided)
        if self._labels is not None:
            self._truths.add(decided, [truth_of(value) for value in self._labels.columns(batch)["truth"]])
        elif self._learned is not None:
            self._truths.add(decided, [None if one < 0 else bool(one) for one in decided.truth.tolist()])
        self._rejects.add(decided)
        self._display.update(self._tally.rows)

    def _summary(self, seconds: float) -> list[str]:
        fold, rows = self._fold, max(1, self._tally.rows)
        lines = self._tally.lines()
        if self._truth_from is not None:
            lines += quality_lines(self._truths.figures(), self._truth_from)
        if self._learned is not None:
            lines += label_lines(fold.told, fold.waiting, self._learned)
        if fold.placed.unkeyed:
            lines.append(
                f"{fold.placed.unkeyed:,} rows have no key: a producer would spread these over the partitions by chance"
            )
        spent = ", ".join(f"{what} {1e6 * s / rows:.1f}" for what, s in (fold.spent_s | self._spent_s).items())
        lines.append(f"{rows / max(seconds, 1e-9):,.0f} rows/s, {seconds:.1f} s; microseconds a row: {spent}")
        lines.append(f"spec fingerprint {fold.spec.fingerprint()}, {fold.spec.partitions} partition(s)")
        return lines


class RejectWindow:
    """The newest `rows` rows: more than `share_max` of a full window rejected, and the file is not ours.

    No more is one of which not a row was accepted, however short. A `share_max` of 1 takes any file.
    """

    def __init__(self, rows: int, share_max: float) -> None:
        self._rows, self._share_max = rows, share_max
        self._bad = np.zeros(0, np.bool_)
        self._seen = self._accepted = 0
        self._last: Reject | None = None

    def add(self, decided: DecidedRows) -> None:
        """The next rows. Raises InputStopped, with the last reject as an example."""
        bad = np.zeros(len(decided), np.bool_)
        bad[list(decided.rejects)] = True
        self._seen += len(bad)
        self._accepted += len(bad) - len(decided.rejects)
        self._last = decided.rejects[max(decided.rejects)] if decided.rejects else self._last
        self._bad = np.concatenate([self._bad, bad])[-self._rows :]
        count = int(self._bad.sum())
        if len(self._bad) < self._rows or count <= self._share_max * self._rows:
            return
        raise self._stopped(f"expected at most {self._share_max:.0%} of {self._rows} rows to be rejects, found {count}")

    def end(self) -> None:
        """No row follows. Raises InputStopped where there were some, all of them rejects."""
        if self._seen and not self._accepted and self._share_max < 1:
            raise self._stopped(f"expected rows that are transactions, found that all {self._seen:,} are rejects")

    def _stopped(self, what: str) -> InputStopped:
        last = self._last
        example = f"; the last one: {last.reason.value}, {fault(last)}" if last else ""
        return InputStopped(
            f"{what}{example}. Check input.fields and input.time_format against the file, or raise "
            "input.rejects_max_share. Nothing was written"
        )


def ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The batches, the next one being read while one is worked on."""
    with ThreadPoolExecutor(1, "read") as pool:
        following = pool.submit(next, batches, None)
        while (batch := following.result()) is not None:
            following = pool.submit(next, batches, None)
            yield batch
