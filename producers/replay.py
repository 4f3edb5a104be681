"""A file's rows as a stream of their own JSON: payloads from `schemas.files`, keys, times and labels by the mapping.

Law: the payload of a row is what `schemas.files.payloads` says, untouched; the mapping only reads it. A row whose key
or time cannot be read is published all the same (without key; due with the row before it): judging it is the
detector's task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from producers.encoding import Batch, LabelRow
from schemas.files import payloads, text_columns
from schemas.mapping import NUMERIC_FORMATS, Mapping
from schemas.members import KEY_ROLES, Members, as_key, as_truth
from schemas.times import pattern_ms, rfc3339_ms


class ReplayError(ValueError):
    """The mapping and the file do not fit together; the message says what to change."""


def replay_batches(
    path: Path,
    mapping: Mapping,
    warn: Callable[[str], None],
    labels_column: str | None = None,
    label_delay_ms: int = 0,
    needs_time: bool = False,
    limit: int | None = None,
) -> Iterator[Batch]:
    """The file's rows as batches, in file order.

    Keyed by the first of KEY_ROLES that the mapping has. With `labels_column` (a path; 1, true, or text of them is
    fraud, 0 and false genuine, absent unknown) every row of known truth is labelled. `event_time_ms` is read where
    `needs_time` or labels ask for it, else 0.

    Raises FileError; ReplayError where labels or time are asked for and the mapping does not say where to find them.
    `warn` takes a line for people where the key is mapped but absent.
    """
    key_role = next((role for role in KEY_ROLES if role in mapping.fields), None)
    if (labels_column or needs_time) and "event_time" not in mapping.fields:
        raise ReplayError(
            "expected event_time under [input.fields] to follow the file's own time; use --rate, or map it"
        )
    if labels_column and "transaction_id" not in mapping.fields:
        raise ReplayError(
            "expected transaction_id under [input.fields], which labels refer to; map it, or leave --labels-column out"
        )
    paths = {"key": mapping.fields[key_role]} if key_role else {}
    if labels_column or needs_time:
        paths["time"] = mapping.fields["event_time"]
    if labels_column:
        paths |= {"id": mapping.fields["transaction_id"], "truth": labels_column}
    rows = payloads(path, limit=limit, text_columns=text_columns(mapping))
    return _batches(rows, paths, event_time_reader(mapping), label_delay_ms, warn)


def _batches(
    row_batches: Iterator[list[bytes]],
    paths: dict[str, str],
    to_ms: Callable[[Any], int | None],
    label_delay_ms: int,
    warn: Callable[[str], None],
) -> Iterator[Batch]:
    members = Members(paths) if paths else None
    latest_ms, warned = 0, False
    for rows in row_batches:
        columns = members.columns(rows) if members else {}
        batch = _batch(rows, columns, to_ms if "time" in paths else None, latest_ms, label_delay_ms)
        latest_ms = int(batch.event_time_ms[-1])
        if "key" in paths and not any(batch.keys) and not warned:
            warned = True
            warn(f"expected a key at {paths['key']!r}, found none in {len(batch):,} rows: these records have no key")
        yield batch


def _batch(
    rows: list[bytes],
    columns: dict[str, list[Any]],
    to_ms: Callable[[Any], int | None] | None,
    latest_ms: int,
    label_delay_ms: int,
) -> Batch:
    keys: list[str | None] = list(map(as_key, columns["key"])) if "key" in columns else [None] * len(rows)
    times = np.zeros(len(rows), np.int64)
    if to_ms is not None:
        for row, time_ms in enumerate(map(to_ms, columns["time"])):
            times[row] = latest_ms = latest_ms if time_ms is None else time_ms
    fraud = np.zeros(len(rows), np.bool_)
    label_row: list[int] = []
    label_keys: list[str | None] = []
    label_payloads: list[bytes] = []
    labelled = zip(map(as_truth, columns.get("truth", ())), map(as_key, columns.get("id", ())), strict=True)
    for row, (truth, identity) in enumerate(labelled):
        if truth is None or identity is None:
            continue
        fraud[row] = truth
        label_row.append(row)
        label_keys.append(keys[row])
        label = LabelRow(identity, int(times[row]) + label_delay_ms, truth, keys[row])
        label_payloads.append(msgspec.json.encode(label))
    return Batch(keys, rows, times, np.array(label_row, np.int64), label_keys, label_payloads, fraud)


def event_time_reader(mapping: Mapping) -> Callable[[Any], int | None]:
    """A function from a JSON value to milliseconds since the epoch by the mapping's time format, None where it is not
    a time in it.
    """
    form, origin_ms = mapping.time_format, mapping.time_origin_ms
    if form in NUMERIC_FORMATS:
        factor = 1 if form == "epoch_ms" else 1_000
        kinds = int if form == "epoch_ms" else (int, float)

        def number_ms(value: Any) -> int | None:
            if isinstance(value, bool) or not isinstance(value, kinds) or not abs(value) < 1 << 53:
                return None
            return origin_ms + round(value * factor)

        return number_ms

    def text_ms(value: Any) -> int | None:
        try:
            return rfc3339_ms(value) if form == "rfc3339" else pattern_ms(value, form)
        except (TypeError, ValueError):
            return None

    return text_ms
