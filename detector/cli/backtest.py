"""`detector lab backtest`, put together: records from a file or, through the Kafka shell, from the live topic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import click
import numpy as np

from detector.lab import backtest, backtest_report
from detector.lab.chunks import Chunk, FileSource, Past, Source
from detector.lab.errors import WrongUsage
from detector.lab.labels import ColumnLabels, FileLabels, HeldLabels, Labels
from detector.lab.report import Report
from detector.settings import Settings
from schemas.files import text_columns

SAID_BYTES = 1 << 25  # of a file of labels, from which on reading it takes seconds
Named = Sequence[tuple[str, Settings]]
_tell = partial(click.echo, err=True)


class TopicSource:
    """The input topic, as the shell reads it."""

    def __init__(self, settings: Settings) -> None:
        """Raises BrokerAway, ConfigurationRefused."""
        from detector.kafka.history import History

        self._history = History(settings, settings.topics.transactions, _tell)
        self.name, self.partitions, self.rows = self._history.topic, self._history.partitions, self._history.rows

    def notes(self) -> list[str]:
        """Whether the topic still begins where a live run did."""
        if not self._history.cut_off:
            return []
        cut = ", ".join(map(str, self._history.cut_off))
        return [f"Retention has taken the first records of partition {cut}: what ran live saw more than what is left."]

    def chunks(self, past: Past) -> Iterator[Chunk]:
        """One partition after the other. Raises HistoryLost."""
        for records in self._history.records(past):
            partition = np.full(len(records), records.partition, np.int64)
            yield Chunk(records.payloads, partition, records.offset, records.record_time_ms)


def run(
    named: Named,
    *,
    data: Path | None,
    source: Path | None,
    topic: bool,
    first: int | None,
    last: int | None,
    labels_file: Path | None,
    labels_column: str | None,
    label_delay: int | None,
    label_interval: int,
    partitions: int,
    limit: int | None,
    shown_max: int,
    output: Path | None,
    overwrite: bool,
) -> list[str]:
    """The lines to print. Raises LabError, ConfigError, and Stop where the topic is read."""
    path = data or source
    if (path is not None) + topic != 1 or (data and source):
        raise click.UsageError("expected one input: a file, as DATA or by --input, or --topic")
    if first is not None and last is not None and first > last:
        raise click.UsageError("--from, --to: expected the first day not to be after the last")
    settings = [one for _, one in named]
    texts = frozenset[str]().union(*(text_columns(one.mapping) for one in settings))
    read: Source = (
        TopicSource(settings[0]) if path is None else FileSource(path, settings[0].mapping, partitions, texts, limit)
    )
    labels, labels_from = _labels(settings, labels_file, labels_column, label_delay, topic)
    folder = output or Path(f"lab-backtest-{path.stem if path else read.name}")
    with Report(folder, f"Backtest of {read.name}", "backtest", overwrite) as report:
        done = backtest.run(
            named, read, backtest.Days(first, last), report.path(backtest_report.ALERTS), labels=labels,
            label_interval_ms=label_interval, shown_max=shown_max,
        )  # fmt: skip
        lines = backtest_report.write(report, done, _introduction(read, named, labels, labels_from, first))
    return [*lines, f"report: {folder / 'report.html'}"]


def _labels(
    settings: Sequence[Settings], file: Path | None, column: str | None, delay_ms: int | None, topic: bool
) -> tuple[Labels | None, str]:
    """What the rows will be measured by, and in words where it comes from."""
    learned = any(one.labels.enabled for one in settings)
    if file is not None:
        if file.stat().st_size > SAID_BYTES:
            click.echo(f"reading the labels in {file.name}", err=True)
        return FileLabels(file, settings[0].mapping, column, delay_ms if learned else delay_ms or 0), file.name
    if column is not None:
        if learned and delay_ms is None:
            raise WrongUsage("--labels-column: expected --label-delay beside it, since labels.enabled is set")
        return ColumnLabels(column, delay_ms or 0), f"column {column}"
    if topic and (held := _topic_labels(settings[0])) is not None:
        return held, f"topic {settings[0].topics.labels}"
    return None, ""


def _topic_labels(settings: Settings) -> HeldLabels | None:
    """All of the labels topic, some 17 bytes a label; None where there is no such topic, or nothing in it."""
    from detector.kafka.errors import ConfigurationRefused
    from detector.kafka.history import History

    try:
        told = History(settings, settings.topics.labels, _tell).labels()
    except ConfigurationRefused:
        return None
    return HeldLabels(told.identity, told.is_fraud, told.event_time_ms) if len(told) else None


def _introduction(read: Source, named: Named, labels: Labels | None, labels_from: str, first: int | None) -> list[str]:
    """What a reader has to know before the figures."""
    told = [
        "Decided by the code that runs live, from an empty state at the first record on, as a live run begins"
        + ("; records before the first day shown warmed the state up." if first is not None else ".")
    ]
    learning = [name for name, one in named if one.labels.enabled]
    if labels_from:
        how = f"; learned, as they arrive, by: {', '.join(learning)}" if learning else "; not learned by anyone"
        told.append(f"The truth is that of {labels_from}{how}.")
        if backtest.names_frauds_only(labels):
            told.append("It names frauds only: all other rows count as genuine, those whose label is yet to come too.")
    elif learning:
        told.append(f"labels.enabled is set ({', '.join(learning)}), but there were no labels to learn.")
    if learning and labels_from.startswith("topic "):
        told.append(
            "A live run takes labels in when they come; here they go in by their event time, so decisions after the "
            "first label may differ a little from those made live."
        )
    return told + read.notes()
