"""The fold of a file's rows through the core: payloads in, decisions out, row i of both the same transaction.

Law (live ≡ replay): rows that lie in a topic at these partitions and offsets get the same risk, verdict, scores and
reasons from `detector run`, bit for bit, however either cuts them into batches. What is told of a row is what its
published decision and alert say.

The one thing a file has not is a record timestamp: a row too far ahead of its own publication is a dead letter live,
and is decided here. Records of a topic bring theirs, and their partitions and offsets: see `decide_at`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from detector.codec.decode import Decoded, Decoder, Reject
from detector.codec.encode import Encoder, member_names
from detector.codec.masking import DIGITS_MIN, mask
from detector.core.batch import DecisionBatch, TransactionBatch, Verdict
from detector.core.budget import DAY_MS, EVENT_MS
from detector.core.labels import LabelBatch, LabelTally, learn_labels
from detector.core.operator import step
from detector.core.spec import Spec
from detector.core.state import TaskState, new_state
from detector.lab.labels import Labels, Schedule
from detector.lab.partitions import Partitions, grouped
from detector.settings import Settings
from schemas.members import Members

REJECTED = -1  # beside the values of `Verdict`
VERDICTS = {REJECTED: "rejected", **{int(verdict): verdict.name.lower() for verdict in Verdict}}


@dataclass(slots=True)
class DecidedRows:
    """n rows in file order. Of a rejected row, and of a null value, risk, amount and scores are NaN, time and day 0.

    `verdict` int8 (n,), a key of VERDICTS; `event_time_ms`, `partition`, `offset` int64 (n,); `amount` float64 (n,),
    NaN where there is none; `risk` float64 (n,); `score` float64 (members, n); `late` bool (n,); `day` int64 (n,), the
    event-time day whose alert budget the row was decided under; `reasons`, row → sentences, of alerts; `rejects`, row →
    reject; `truth` int8 (n,), 1 fraud, 0 genuine, -1 unknown: what the labels say that the fold was given.
    """

    transaction_id: list[str]
    event_time_ms: NDArray[np.int64]
    amount: NDArray[np.float64]
    verdict: NDArray[np.int8]
    risk: NDArray[np.float64]
    score: NDArray[np.float64]
    late: NDArray[np.bool_]
    partition: NDArray[np.int64]
    offset: NDArray[np.int64]
    day: NDArray[np.int64]
    reasons: dict[int, list[str]]
    rejects: dict[int, Reject]
    truth: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.verdict)


class _Reason(msgspec.Struct):
    text: str


class _Alert(msgspec.Struct):
    """What we read back of an alert."""

    reasons: list[_Reason]


class Fold:
    """All tasks of a topic. `spent_s` adds up seconds by step: place, decode, step, tell."""

    def __init__(
        self, settings: Settings, topic: str, partitions: int, labels: Labels | None = None, label_interval_ms: int = 1
    ) -> None:
        """`labels` are learned as they arrive, by whole `label_interval_ms`.

        Raises ConfigError where the settings clash.
        """
        mapping = settings.mapping
        self.spec: Spec = settings.spec(partitions)
        self.members = member_names(self.spec)
        self.placed = Partitions(mapping, partitions)
        self.spent_s = dict.fromkeys(("place", "decode", "step", "tell", *(("labels",) if labels else ())), 0.0)
        self.told = LabelTally()
        self._labels = labels
        self._schedules = {partition: Schedule(label_interval_ms) for partition in range(partitions)}
        self._topic = topic
        self._decoder = Decoder(mapping, self.spec, topic)
        self._encoder = Encoder(mapping, self.spec, topic, settings.application_id)
        self._read_alert = msgspec.json.Decoder(_Alert).decode
        identity = mapping.fields.get("transaction_id")
        self._identity = Members({"id": identity}) if identity is not None else None
        self._states: dict[int, TaskState] = {}
        self.look: Callable[[TaskState, TransactionBatch], None] | None = None  # at what is about to be folded in

    def decide(self, payloads: Sequence[bytes]) -> DecidedRows:
        """The next rows of the file, decided and folded in."""
        began_s = time.perf_counter()
        partition, offset = self.placed.place(payloads)
        self.spent_s["place"] += time.perf_counter() - began_s
        return self.decide_at(payloads, partition, offset, np.full(len(payloads), -1, np.int64))

    def decide_at(
        self,
        payloads: Sequence[bytes | None],
        partition: NDArray[np.int64],
        offset: NDArray[np.int64],
        record_time_ms: NDArray[np.int64],
    ) -> DecidedRows:
        """Records that lie at these places, decided and folded in; each partition's in the order of its offsets.

        All int64 (n,); a record time of 0 or below means unknown. A null value is passed over.
        """
        began_s = time.perf_counter()
        decoded = self._decoder.decode(payloads, offset, record_time_ms, partition)
        decoded_s = time.perf_counter()
        rows = _undecided(len(payloads), len(self.members), partition, offset)
        rows.rejects = {reject.record: reject for reject in decoded.rejects}
        rows.event_time_ms[decoded.record] = decoded.batch.event_time_ms
        rows.amount[decoded.record] = decoded.batch.amount
        self.spent_s["decode"] += decoded_s - began_s
        for one, some in grouped(partition[decoded.record]):
            self._step(one, decoded, some, payloads, rows)
        told_s = time.perf_counter()
        rows.transaction_id = self._transaction_ids(payloads, decoded.record, rows)
        self.spent_s["tell"] += time.perf_counter() - told_s
        return rows

    def _step(
        self, partition: int, decoded: Decoded, some: NDArray[np.int64], payloads: Sequence[bytes | None],
        rows: DecidedRows,
    ) -> None:  # fmt: skip
        """One task's share of the rows: `some` are its rows of the batch."""
        began_s = time.perf_counter()
        whole = len(some) == len(decoded.batch)
        batch = decoded.batch if whole else chosen(decoded.batch, some)
        record = decoded.record if whole else decoded.record[some]
        state = self._states.get(partition)
        if state is None:
            state = self._states[partition] = new_state(self.spec, partition)
        newest_ms = np.maximum(np.maximum.accumulate(batch.event_time_ms), state.clock[EVENT_MS])
        rows.day[record] = newest_ms // DAY_MS
        if self._labels is None:
            decisions = self._decide(state, batch)
            self.spent_s["step"] += time.perf_counter() - began_s
            self._tell(partition, batch, record, decisions, payloads, rows)
            return
        told = self._labels.of(
            [payloads[index] or b"" for index in record.tolist()], batch.identity, batch.event_time_ms
        )
        rows.truth[record[told.row]] = told.is_fraud
        self.spent_s["labels"] += time.perf_counter() - began_s
        schedule = self._schedules[partition]
        for start, stop, due in schedule.segments(batch.event_time_ms):
            began_s = time.perf_counter()
            if due is not None:
                self.told += learn_labels(self.spec, state, due)
            learned_s = time.perf_counter()
            part = batch.rows(start, stop)
            decisions = self._decide(state, part)
            self.spent_s["labels"] += learned_s - began_s
            self.spent_s["step"] += time.perf_counter() - learned_s
            self._tell(partition, part, record[start:stop], decisions, payloads, rows)
            some_told = slice(*np.searchsorted(told.row, [start, stop]).tolist())
            schedule.put(
                LabelBatch(batch.identity[told.row[some_told]], told.is_fraud[some_told], told.event_time_ms[some_told])
            )

    def _decide(self, state: TaskState, batch: TransactionBatch) -> DecisionBatch:
        if self.look is not None:
            self.look(state, batch)
        return step(self.spec, state, batch)

    @property
    def waiting(self) -> int:
        """Labels whose time had not come at the last row."""
        return sum(schedule.waiting for schedule in self._schedules.values())

    def _tell(
        self,
        partition: int,
        batch: TransactionBatch,
        record: NDArray[np.int64],
        decisions: DecisionBatch,
        payloads: Sequence[bytes | None],
        rows: DecidedRows,
    ) -> None:
        """Write what was decided on a batch, whose rows are the records `record`."""
        rows.verdict[record] = decisions.verdict
        rows.risk[record] = decisions.risk
        rows.score[:, record] = decisions.score
        rows.late[record] = decisions.late
        for row in np.flatnonzero(decisions.verdict == Verdict.ALERT).tolist():
            index = int(record[row])
            alert = self._encoder.alert(
                payloads[index] or b"", partition, int(batch.offset[row]), decisions, row, None,
                event_time_ms=int(batch.event_time_ms[row]),
            )  # fmt: skip
            rows.reasons[index] = [reason.text for reason in self._read_alert(alert.value or b"").reasons]

    def _transaction_ids(
        self, payloads: Sequence[bytes | None], accepted: NDArray[np.int64], rows: DecidedRows
    ) -> list[str]:
        """As decisions name them: masked, and topic-partition-offset where the row has none or was rejected."""
        found: list[str | None] = [None] * len(rows)
        if self._identity is not None:
            values = self._identity.columns([payloads[index] or b"" for index in accepted.tolist()])["id"]
            for index, value in zip(accepted.tolist(), values, strict=True):
                if value is not None and value != "":
                    text = str(value)
                    found[index] = text if len(text) < DIGITS_MIN else mask(text)
        places = zip(found, rows.partition.tolist(), rows.offset.tolist(), strict=True)
        return [f"{self._topic}-{part}-{offset}" if text is None else text for text, part, offset in places]


def chosen(batch: TransactionBatch, rows: NDArray[np.int64]) -> TransactionBatch:
    """Some rows of a batch, in their order, as copies."""
    return TransactionBatch(
        batch.offset[rows],
        batch.event_time_ms[rows],
        batch.amount[rows],
        np.ascontiguousarray(batch.key[:, rows]),
        batch.latitude[rows],
        batch.longitude[rows],
        np.ascontiguousarray(batch.numeric[:, rows]),
        batch.identity[rows] if len(batch.identity) else batch.identity,
    )


def fault(reject: Reject) -> str:
    """What is wrong with a rejected row, masked, field first."""
    named = not reject.field or reject.message.startswith(f"{reject.field}: ")
    return mask(reject.message if named else f"{reject.field}: {reject.message}")


def _undecided(n: int, members: int, partition: NDArray[np.int64], offset: NDArray[np.int64]) -> DecidedRows:
    return DecidedRows(
        transaction_id=[],
        event_time_ms=np.zeros(n, np.int64),
        amount=np.full(n, np.nan),
        verdict=np.full(n, REJECTED, np.int8),
        risk=np.full(n, np.nan),
        score=np.full((members, n), np.nan),
        late=np.zeros(n, np.bool_),
        partition=partition,
        offset=offset,
        day=np.zeros(n, np.int64),
        reasons={},
        rejects={},
        truth=np.full(n, -1, np.int8),
    )
