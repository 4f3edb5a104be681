"""A deterministic engine small enough to be worked out by hand, and the detector's Kafka shell run with it.

Each record is a whole number in ASCII. The state is how many there were, their sum, and a running CRC over all of them
in order; one in ten raises an alert that shows the three. Hence an alert is right only if every record before it was
folded once, in order.

With labels, a label is the number that it is about and what is said of it, `17 1`. The state then also counts them, and
runs a CRC over them and what became of each, which depends on whether its number was there before; alerts show both.
Hence an alert is right only if every label before it was folded once, in order, before the right record.

`python -m tests.integration.counting SETTINGS` runs the shell, settings as JSON, and prints its HTTP port. With the
option `core` it is the detector's own engine that runs.
"""

from __future__ import annotations

import faulthandler
import json
import signal
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.codec.decode import Decoded, Reject
from detector.codec.encode import OutMessage
from detector.codec.labels import DecodedLabels
from detector.core.batch import DecisionBatch, TransactionBatch, Verdict
from detector.core.labels import LabelBatch, LabelTally
from detector.core.spec import Spec
from detector.kafka import service
from detector.kafka.engine import CoreEngine, Engine
from detector.kafka.outbox import Output
from detector.kafka.records import Records
from detector.settings import Settings
from schemas.dead_letter import RejectReason

ALERT_EVERY = 10
LABELLED_MAX = 1 << 18  # numbers that labels can be about are below
UNSEEN, SEEN, GENUINE, FRAUD = range(4)  # what is known of a number
OUTCOMES = ("learned", "duplicate", "contradictory", "orphan")


def numbers(count: int, start: int = 0) -> list[bytes]:
    """Payloads, each different from its neighbours."""
    return [b"%d" % value for value in range(start, start + count)]


def label_of(value: int, is_fraud: bool) -> bytes:
    return b"%d %d" % (value, is_fraud)


class Known:
    """What labels say, and of which numbers: the part of the state that only engines with labels have."""

    def __init__(self) -> None:
        self.of = np.zeros(LABELLED_MAX, np.int8)
        self.told = np.zeros(2, np.int64)  # count, CRC

    def seen(self, value: int) -> None:
        if self.of[value] == UNSEEN:
            self.of[value] = SEEN

    def learn(self, value: int, is_fraud: bool) -> str:
        """What became of one label."""
        before, now = int(self.of[value]), FRAUD if is_fraud else GENUINE
        outcome = {UNSEEN: "orphan", SEEN: "learned", now: "duplicate"}.get(before, "contradictory")
        if before != UNSEEN:
            self.of[value] = now
        packed = struct.pack("<qbb", value, is_fraud, OUTCOMES.index(outcome))
        self.told[:] = self.told[0] + 1, zlib.crc32(packed, int(self.told[1]))
        return outcome

    def shown(self) -> dict[str, int]:
        return {"labels": int(self.told[0]), "labels_crc": int(self.told[1])}


def alert_of(partition: int, offset: int, value: int, rows: int, total: int, crc: int, **labels: int) -> OutMessage:
    body = {"id": f"{partition}-{offset}", "value": value, "rows": rows, "total": total, "crc": crc, **labels}
    return OutMessage(b"%d" % partition, json.dumps(body).encode(), [("rows", b"%d" % rows), ("crc", b"%d" % crc)])


def expected_alerts(
    partition: int,
    records: Iterable[tuple[int, bytes | None]],
    labels: Iterable[tuple[int, bytes | None]] | None = None,
    cuts: Iterable[tuple[int, int]] = (),
) -> list[OutMessage]:
    """What an undisturbed run says of one partition: `records` are (offset, payload), rejects among them.

    With `labels` of the same form those below L are folded in before the record at T, for each (T, L) of `cuts`.
    """
    rows = total = crc = 0
    alerts = []
    known, waiting, ahead = Known(), list(labels or ()), list(cuts)
    for offset, payload in records:
        while ahead and ahead[0][0] <= offset:
            upto = ahead.pop(0)[1]
            for _, label in [one for one in waiting if one[0] < upto]:
                if (parsed := parse_label(label)) is not None:
                    known.learn(*parsed)
            waiting = [one for one in waiting if one[0] >= upto]
        try:
            value = int(payload or b"")
        except ValueError:
            continue
        rows, total, crc = rows + 1, total + value, zlib.crc32(struct.pack("<q", value), crc)
        if labels is not None:
            known.seen(value)
        if value % ALERT_EVERY == 0:
            shown = known.shown() if labels is not None else {}
            alerts.append(alert_of(partition, offset, value, rows, total, crc, **shown))
    return alerts


def parse_label(payload: bytes | None) -> tuple[int, bool] | None:
    """None for what is no label."""
    try:
        value, said = (payload or b"").split()
        return int(value), {b"0": False, b"1": True}[said]
    except (ValueError, KeyError):
        return None


@dataclass
class State:
    """`counts` int64 (3,): rows, total, crc."""

    counts: NDArray[np.int64]
    known: Known | None


class Counting:
    """See the module. `pad_bytes`: added to each snapshot, to make it take several chunks.

    With `labels`, a label's event time is the number that it is about, as a record's is its own.
    """

    slots: Mapping[str, int] = {}

    def __init__(
        self,
        alerts: str,
        pad_bytes: int = 0,
        state_fingerprint: str = "state-1",
        labels: bool = False,
        members: int = 1,
    ) -> None:
        self._labels, self._members = labels, members
        self.spec_fingerprint, self.state_fingerprint = "spec-1", state_fingerprint
        self.state_parts = {"counting": state_fingerprint}
        self._alerts, self._pad = alerts, b"\xa5" * pad_bytes
        self._after: list[tuple[int, int, int]] = []

    def new_state(self, partition: int) -> Any:
        return State(np.zeros(3, np.int64), Known() if self._labels else None)

    def decode(self, records: Records) -> Decoded:
        values, rows, rejects, tombstones = [], [], [], 0
        for row, payload in enumerate(records.payloads):
            if payload is None:
                tombstones += 1
                continue
            try:
                values.append(int(payload))
                rows.append(row)
            except ValueError:
                rejects.append(Reject(row, RejectReason.NOT_JSON, "", "expected a whole number"))
        record = np.array(rows, np.int64)
        none = np.zeros(len(rows))
        batch = TransactionBatch(
            offset=records.offset[record],
            event_time_ms=np.array(values, np.int64),
            amount=none,
            key=np.zeros((0, len(rows)), np.uint64),
            latitude=none,
            longitude=none,
            numeric=np.zeros((0, len(rows))),
        )
        return Decoded(batch, record, rejects, tombstones)

    def prepare(self, state: Any, decoded: Decoded) -> Any:
        return decoded

    def conclude(self, state: Any, decoded: Any) -> DecisionBatch:
        column = decoded.batch.event_time_ms
        values = column.tolist()
        self._after = []
        for value in values:
            counts = state.counts
            counts[:] = counts[0] + 1, counts[1] + value, zlib.crc32(struct.pack("<q", value), int(counts[2]))
            self._after.append((int(counts[0]), int(counts[1]), int(counts[2])))
            if state.known is not None:
                state.known.seen(value)
        self._shown = state.known.shown() if state.known is not None else {}
        rows = len(values)
        return DecisionBatch(
            score=np.zeros((self._members, rows)),
            risk=np.zeros(rows),
            verdict=np.where(column % ALERT_EVERY == 0, Verdict.ALERT, Verdict.PASS).astype(np.int8),
            late=np.zeros(rows, np.bool_),
            features=np.zeros((rows, 0)),
            reasons={},
            model_version=np.zeros(rows, np.int64),
        )

    def outputs(self, records: Records, decoded: Decoded, decisions: DecisionBatch) -> list[Output]:
        found = []
        for row in np.flatnonzero(decisions.verdict == Verdict.ALERT).tolist():
            offset, value = int(decoded.batch.offset[row]), int(decoded.batch.event_time_ms[row])
            found.append(
                Output(self._alerts, alert_of(records.partition, offset, value, *self._after[row], **self._shown))
            )
        return found

    def decode_labels(self, records: Records) -> DecodedLabels:
        parsed = [None if payload is None else parse_label(payload) for payload in records.payloads]
        labels = [label for label in parsed if label is not None]
        values = np.array([value for value, _ in labels], np.int64)
        rejects = [
            Reject(row, RejectReason.NOT_JSON, "", "expected a number and 0 or 1")
            for row, label in enumerate(parsed)
            if label is None and records.payloads[row] is not None
        ]
        batch = LabelBatch(values.astype(np.uint64), np.array([said for _, said in labels], np.bool_), values)
        return DecodedLabels(batch, rejects)

    def learn_labels(self, state: Any, decoded: DecodedLabels) -> LabelTally:
        labels = zip(decoded.labels.identity.tolist(), decoded.labels.is_fraud.tolist(), strict=True)
        found = Counter(state.known.learn(value, is_fraud) for value, is_fraud in labels)
        return LabelTally(**{outcome: found[outcome] for outcome in OUTCOMES})

    def snapshot(self, state: Any) -> bytes:
        known = state.known.told.tobytes() + state.known.of.tobytes() if state.known is not None else b""
        return bytes(state.counts.tobytes()) + known + self._pad

    def restore(self, data: bytes) -> Any:
        state = self.new_state(0)
        state.counts[:] = np.frombuffer(data[:24], np.int64)
        if state.known is not None:
            state.known.told[:] = np.frombuffer(data[24:40], np.int64)
            state.known.of[:] = np.frombuffer(data[40 : 40 + LABELLED_MAX], np.int8)
        return state

    def nbytes(self, state: Any) -> int:
        return int(state.counts.nbytes)

    def gauges(self, state: Any) -> dict[str, float]:
        newest = np.flatnonzero(state.known.of)[-1:].tolist() if state.known is not None else []
        return {"alerts_spent": float(state.counts[0]), "event_time_ms_max": float(newest[0] if newest else -1)}


def main(arguments: list[str]) -> int:
    faulthandler.register(signal.SIGUSR1)
    asked = json.loads(arguments[0])
    options = asked.pop("counting")

    def engine(settings: Settings, spec: Spec) -> Engine:
        if options["core"]:
            return CoreEngine(settings, spec)
        labels, members = settings.labels.enabled, len(spec.members)
        return Counting(settings.topics.alerts, options["pad_bytes"], options["state_fingerprint"], labels, members)

    return service.run(
        Settings.model_validate(asked),
        rebuild=options["rebuild"],
        engine_factory=engine,
        on_listening=lambda port: print(port, flush=True),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
