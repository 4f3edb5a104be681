"""Payloads → columns. msgspec accepts, pydantic explains rejects; both judge by one shape (`shape.py`).

Law: which records are accepted, and as which numbers, depends on the mapping and the record alone: not on the batch
that it comes in, nor on its neighbours. After `decode` no Python object is left of an accepted record.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from detector.codec import screen
from detector.codec.explain import Explainer, Fault
from detector.codec.hashing import hash_columns
from detector.codec.shape import KEY_ROLE_FIELDS, Branch, build, leaves, struct_type, time_reader
from detector.core.batch import TransactionBatch
from detector.core.spec import Spec
from schemas.dead_letter import RejectReason
from schemas.mapping import Mapping
from schemas.times import rfc3339_text

CHUNK_ROWS = 512  # decoded objects of one chunk stay in the processor's cache; twice as fast as 20,000 at a time


@dataclass(frozen=True, slots=True)
class Reject:
    """One record set aside: index into the payloads, reason code, path of the field at fault, what to tell people.

    The message holds no value of the input.
    """

    record: int
    reason: RejectReason
    field: str
    message: str


@dataclass(slots=True)
class Decoded:
    """Columns of the accepted records; `record` int64 (rows,) is each row's index into the payloads.

    `rejects` are in the order of the payloads; `tombstones` counts the null values.
    """

    batch: TransactionBatch
    record: NDArray[np.int64]
    rejects: list[Reject]
    tombstones: int


class Decoder:
    """Decodes payloads of one input topic. Holds no state of a stream, so one serves all partitions."""

    def __init__(self, mapping: Mapping, spec: Spec, topic: str = "") -> None:
        """Raises ValueError where the spec wants a key or a numeric column that the mapping does not have.

        `topic` names the input in the identities of records that bring none; only a spec with labels reads it.
        """
        tree = build(mapping)
        self._mapping = mapping
        self._tree = tree
        self._decode = msgspec.json.Decoder(struct_type(tree, mapping)).decode
        self._empty = _empty_branches(tree, struct_type(tree, mapping))
        self._explainer = Explainer(mapping)
        self._read_time = time_reader(mapping)
        # Kernels are compiled, or loaded from the cache on disk, here rather than on the first record.
        screen.suspects([b"{}"], mapping.bounds.payload_bytes_max)
        hash_columns([("warm",)])
        place = {name: index for index, leaf in enumerate(leaves(tree)) for name in leaf.columns}
        self._place = place
        self._labelled, self._topic = spec.labels is not None, topic
        try:
            self._keys = [place[KEY_ROLE_FIELDS[role]] for role in spec.keys]
            self._numeric = [place["numeric." + name] for name in spec.numeric]
        except KeyError as error:
            raise ValueError(f"expected the mapping to have every column of the spec, found no {error}") from error

    def decode(
        self,
        payloads: Sequence[bytes | None],
        offset: NDArray[np.int64],
        record_time_ms: NDArray[np.int64],
        partition: int | NDArray[np.int64] = 0,
    ) -> Decoded:
        """Accepted rows as columns, in order; the others as rejects; null values are counted as tombstones.

        `offset`, `record_time_ms`: int64 (n,), one a payload; a record time of 0 or below means unknown. `partition`,
        one for all or int64 (n,), is part of the identity of records that bring none. Never raises on input.
        """
        n = len(payloads)
        batch = _new_batch(n, len(self._keys), len(self._numeric))
        if self._labelled:
            batch.identity = np.empty(n, np.uint64)
        record = np.empty(n, np.int64)
        rejects: list[Reject] = []
        rows = tombstones = 0
        for start in range(0, n, CHUNK_ROWS):
            chunk = payloads[start : start + CHUNK_ROWS]
            accepted, tuples, nulls = self._accept(chunk, start, rejects)
            tombstones += nulls
            if tuples:
                rows += self._fill(batch, record, rows, accepted, tuples, record_time_ms, rejects)
        if rejects:
            rejects.sort(key=lambda reject: reject.record)
        if rows < n:
            batch, record = batch.rows(0, rows), record[:rows]
        batch.offset = offset[record] if rows < n else offset
        if self._labelled:
            self._name_nameless(batch, np.broadcast_to(np.asarray(partition, np.int64), n)[record])
        return Decoded(batch, record, rejects, tombstones)

    def _accept(
        self, chunk: Sequence[bytes | None], start: int, rejects: list[Reject]
    ) -> tuple[NDArray[np.int64], list[tuple[Any, ...]], int]:
        """Parses one chunk: (indices into the payloads, field values) of the accepted, and the count of nulls."""
        record = np.arange(start, start + len(chunk))
        nulls = 0
        if None in chunk:
            kept = [index for index, payload in enumerate(chunk) if payload is not None]
            nulls = len(chunk) - len(kept)
            chunk, record = [chunk[index] for index in kept], record[kept]
            if not chunk:
                return record, [], nulls
        present = cast(Sequence[bytes], chunk)
        refused = []
        for index in screen.suspects(present, self._mapping.bounds.payload_bytes_max).tolist():
            found = screen.fault(present[index], self._mapping.bounds.payload_bytes_max)
            if found is not None:
                rejects.append(Reject(int(record[index]), found[0], "", found[1]))
                refused.append(index)
        if refused:
            record = np.delete(record, refused)
            present = [payload for index, payload in enumerate(present) if index not in set(refused)]
        tuples: list[tuple[Any, ...]] = []
        bad: list[int] = []
        parsed = map(msgspec.structs.astuple, map(self._decode, present))
        while True:
            try:
                tuples.extend(parsed)  # keeps what came before a bad record, and goes on behind it
                break
            except msgspec.DecodeError as error:
                index = len(tuples) + len(bad)
                bad.append(index)
                rejects.append(self._explain(int(record[index]), present[index], error))
        return (np.delete(record, bad) if bad else record), tuples, nulls

    def _explain(self, record: int, payload: bytes, error: Exception) -> Reject:
        fault = self._explainer.explain(payload) or self._explainer.unexplained(payload, error)
        return Reject(record, fault.reason, fault.field, fault.message)

    def _fill(
        self,
        batch: TransactionBatch,
        record: NDArray[np.int64],
        at: int,
        accepted: NDArray[np.int64],
        tuples: list[tuple[Any, ...]],
        record_time_ms: NDArray[np.int64],
        rejects: list[Reject],
    ) -> int:
        """Writes the columns of one chunk into row `at` and on; returns how many rows it wrote."""
        columns = _transpose(self._tree, tuples, self._empty)
        time_ms, faults = self._times(columns, record_time_ms[accepted])
        keep: NDArray[np.int64] | slice = slice(None)
        if faults:
            rejects += [
                Reject(int(accepted[row]), fault.reason, fault.field, fault.message) for row, fault in faults.items()
            ]
            keep = np.delete(np.arange(len(tuples)), list(faults))
        rows = len(tuples) - len(faults)
        to = slice(at, at + rows)
        record[to] = accepted[keep]
        batch.event_time_ms[to] = time_ms[keep]
        place = self._place
        for column, name in ((batch.amount, "amount"), (batch.latitude, "lat"), (batch.longitude, "lon")):
            column[to] = _floats(columns[place[name]])[keep] if name in place else np.nan
        for index, source in enumerate(self._numeric):
            batch.numeric[index, to] = _floats(columns[source])[keep]
        if self._keys:
            texts = [columns[source] for source in self._keys]
            batch.key[:, to] = _hash(texts)[:, keep]
        if self._labelled:
            own = self._place.get("transaction_id")
            batch.identity[to] = 0 if own is None else _hash([columns[own]])[0, keep]
        return rows

    def _name_nameless(self, batch: TransactionBatch, partition: NDArray[np.int64]) -> None:
        """Rows without transaction_id are known as alerts name them: topic-partition-offset."""
        nameless = np.flatnonzero(batch.identity == 0)
        if len(nameless):
            places = zip(partition[nameless].tolist(), batch.offset[nameless].tolist(), strict=True)
            batch.identity[nameless] = hash_columns([[f"{self._topic}-{part}-{offset}" for part, offset in places]])[0]

    def _times(
        self, columns: list[tuple[Any, ...]], record_time_ms: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], dict[int, Fault]]:
        """Event times in milliseconds, and the fault of each row whose time will not do."""
        place, mapping = self._place.get("event_time"), self._mapping
        faults: dict[int, Fault] = {}
        if place is None:
            time_ms = record_time_ms
            bounds = mapping.bounds
            for row in np.flatnonzero(
                (time_ms < bounds.event_time_min_ms) | (time_ms >= bounds.event_time_max_ms)
            ).tolist():
                faults[row] = Fault(
                    RejectReason.BAD_TIME,
                    "",
                    f"expected a record timestamp from {bounds.event_time_min} up to {bounds.event_time_max}, since no "
                    "field is mapped to event_time; found none, or one outside",
                )
            return time_ms, faults
        if mapping.time_format == "epoch_ms":
            time_ms = np.array(columns[place], np.int64)
        elif mapping.time_format in ("epoch_s", "seconds_since"):
            time_ms = np.rint(_floats(columns[place]) * 1000.0).astype(np.int64) + mapping.time_origin_ms
        else:
            time_ms = self._read_times(columns[place], faults)
        if mapping.time_ahead_max_ms:
            ahead = (record_time_ms > 0) & (time_ms - record_time_ms > mapping.time_ahead_max_ms)
            if ahead.any():
                self._blame_ahead(time_ms, record_time_ms, ahead, faults)
        return time_ms, faults

    def _read_times(self, texts: tuple[str, ...], faults: dict[int, Fault]) -> NDArray[np.int64]:
        try:
            return np.array(list(map(self._read_time, texts)), np.int64)
        except ValueError:
            pass
        time_ms = np.zeros(len(texts), np.int64)
        for row, text in enumerate(texts):
            try:
                time_ms[row] = self._read_time(text)
            except ValueError as error:
                faults[row] = Fault(RejectReason.BAD_TIME, self._mapping.fields["event_time"], str(error))
        return time_ms

    def _blame_ahead(
        self,
        time_ms: NDArray[np.int64],
        record_time_ms: NDArray[np.int64],
        ahead: NDArray[np.bool_],
        faults: dict[int, Fault],
    ) -> None:
        for row in np.flatnonzero(ahead).tolist():
            if row not in faults:
                faults[row] = Fault(
                    RejectReason.TIME_AHEAD,
                    self._mapping.fields["event_time"],
                    told_ahead(self._mapping, int(record_time_ms[row]), int(time_ms[row])),
                )


def told_ahead(mapping: Mapping, record_time_ms: int, event_time_ms: int) -> str:
    """What is wrong with an event time too far after its record's own timestamp, of a transaction or of a label."""
    return (
        f"expected an event time at most {mapping.event_time_ahead_max} after the record's own timestamp, "
        f"{rfc3339_text(record_time_ms)}; found {rfc3339_text(event_time_ms)}"
    )


def _new_batch(n: int, keys: int, numeric: int) -> TransactionBatch:
    return TransactionBatch(
        offset=np.empty(0, np.int64),
        event_time_ms=np.empty(n, np.int64),
        amount=np.empty(n, np.float64),
        key=np.empty((keys, n), np.uint64),
        latitude=np.empty(n, np.float64),
        longitude=np.empty(n, np.float64),
        numeric=np.empty((numeric, n), np.float64),
    )


def _empty_branches(branch: Branch, kind: type[msgspec.Struct]) -> dict[str, tuple[Any, ...]]:
    """What stands for an optional object that is null: each of its leaves absent, by path."""
    empty: dict[str, tuple[Any, ...]] = {}
    for field, child in zip(msgspec.structs.fields(kind), branch.children.values(), strict=True):
        if isinstance(child, Branch) and not child.required:
            nothing = field.default_factory()
            empty[child.path] = msgspec.structs.astuple(nothing)
            empty |= _empty_branches(child, type(nothing))
        elif isinstance(child, Branch):
            empty |= _empty_branches(child, cast(type[msgspec.Struct], field.type))
    return empty


def _transpose(
    branch: Branch, tuples: list[tuple[Any, ...]], empty: dict[str, tuple[Any, ...]]
) -> list[tuple[Any, ...]]:
    """Rows → one tuple a leaf, in the order of `shape.leaves`."""
    columns: list[tuple[Any, ...]] = []
    astuple: Callable[[Any], tuple[Any, ...]] = msgspec.structs.astuple
    for values, child in zip(zip(*tuples, strict=True), branch.children.values(), strict=True):
        if isinstance(child, Branch):
            nothing = empty.get(child.path, ())
            inner = [nothing if value is None else astuple(value) for value in values]
            columns += _transpose(child, inner, empty)
        else:
            columns.append(values)
    return columns


def _floats(values: tuple[float | None, ...]) -> NDArray[np.float64]:
    """A column of numbers, float64 (n,), NaN where one is null; `struct` takes a quarter of the time of numpy."""
    try:
        return np.frombuffer(struct.pack(f"{len(values)}d", *values))
    except struct.error:
        return np.array(values, np.float64)


def _hash(texts: list[tuple[Any, ...]]) -> NDArray[np.uint64]:
    """Hashes of key columns whose values are texts, integers (as their decimal text) or None."""
    try:
        return hash_columns(texts)
    except TypeError:
        return hash_columns([["" if value is None else str(value) for value in column] for column in texts])
