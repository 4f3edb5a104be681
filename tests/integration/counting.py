"""A deterministic engine small enough to be worked out by hand, and the detector's Kafka shell run with it.

Each record is a whole number in ASCII. The state is how many there were, their sum, and a running CRC over all of them
in order; one in ten raises an alert that shows the three. Hence an alert is right only if every record before it was
folded once, in order.

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
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from detector.codec.decode import Decoded, Reject
from detector.codec.encode import OutMessage
from detector.core.batch import DecisionBatch, TransactionBatch, Verdict
from detector.core.spec import Spec
from detector.kafka import service
from detector.kafka.engine import CoreEngine, Engine, Output
from detector.kafka.records import Records
from detector.settings import Settings
from schemas.dead_letter import RejectReason

ALERT_EVERY = 10


def numbers(count: int, start: int = 0) -> list[bytes]:
    """Payloads, each different from its neighbours."""
    return [b"%d" % value for value in range(start, start + count)]


def alert_of(partition: int, offset: int, value: int, rows: int, total: int, crc: int) -> OutMessage:
    body = {"id": f"{partition}-{offset}", "value": value, "rows": rows, "total": total, "crc": crc}
    return OutMessage(b"%d" % partition, json.dumps(body).encode(), [("rows", b"%d" % rows), ("crc", b"%d" % crc)])


def expected_alerts(partition: int, records: Iterable[tuple[int, bytes | None]]) -> list[OutMessage]:
    """What an undisturbed run says of one partition: `records` are (offset, payload), rejects among them."""
    rows = total = crc = 0
    alerts = []
    for offset, payload in records:
        try:
            value = int(payload or b"")
        except ValueError:
            continue
        rows, total, crc = rows + 1, total + value, zlib.crc32(struct.pack("<q", value), crc)
        if value % ALERT_EVERY == 0:
            alerts.append(alert_of(partition, offset, value, rows, total, crc))
    return alerts


class Counting:
    """See the module. `pad_bytes`: added to each snapshot, to make it take several chunks."""

    slots: Mapping[str, int] = {}

    def __init__(self, alerts: str, pad_bytes: int = 0, state_fingerprint: str = "state-1") -> None:
        self.spec_fingerprint, self.state_fingerprint = "spec-1", state_fingerprint
        self._alerts, self._pad = alerts, b"\xa5" * pad_bytes
        self._after: list[tuple[int, int, int]] = []

    def new_state(self, partition: int) -> Any:
        return np.zeros(3, np.int64)

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
            state[:] = state[0] + 1, state[1] + value, zlib.crc32(struct.pack("<q", value), int(state[2]))
            self._after.append((int(state[0]), int(state[1]), int(state[2])))
        rows = len(values)
        return DecisionBatch(
            score=np.zeros((1, rows)),
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
            found.append(Output(self._alerts, alert_of(records.partition, offset, value, *self._after[row])))
        return found

    def snapshot(self, state: Any) -> bytes:
        return bytes(state.tobytes()) + self._pad

    def restore(self, data: bytes) -> Any:
        return np.frombuffer(data[:24], np.int64).copy()

    def nbytes(self, state: Any) -> int:
        return int(state.nbytes)

    def gauges(self, state: Any) -> dict[str, float]:
        return {"alerts_spent": float(state[0])}


def main(arguments: list[str]) -> int:
    faulthandler.register(signal.SIGUSR1)
    asked = json.loads(arguments[0])
    options = asked.pop("counting")

    def engine(settings: Settings, spec: Spec) -> Engine:
        if options["core"]:
            return CoreEngine(settings, spec)
        return Counting(settings.topics.alerts, options["pad_bytes"], options["state_fingerprint"])

    return service.run(
        Settings.model_validate(asked),
        rebuild=options["rebuild"],
        engine_factory=engine,
        on_listening=lambda port: print(port, flush=True),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
