"""One row of a file as the models met it: its features, its decision, and the state that scored it, standing still.

Law: what is explained is what was decided. The frozen members give the row's own features the scores that the fold gave
it, bit for bit (prequential: the row itself is in none of what scores it).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.codec import snapshot as state_codec
from detector.codec.masking import DIGITS_MIN, mask
from detector.codec.reasons import sentences
from detector.core import credit, fusion
from detector.core.batch import TransactionBatch
from detector.core.compile import compile_kernels
from detector.core.explain import explain
from detector.core.labels import read_label_features
from detector.core.operator import anomaly_contributions, contributions, prepare, score, surprised
from detector.core.spec import Spec
from detector.core.state import TaskState
from detector.lab.chunks import Chunk, FileSource
from detector.lab.errors import InputStopped, WrongUsage
from detector.lab.fold import VERDICTS, DecidedRows, Fold, fault
from detector.lab.progress import Display
from detector.lab.replay import RejectWindow, ahead
from detector.settings import Settings
from schemas.files import text_columns
from schemas.members import Members, as_key

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Frozen:
    """One row (f,) of features, the decision on it, and what scored it.

    `members`: names, in the order of scores; `reasons`: sentences, of a row that is no alert too.
    """

    spec: Spec
    state: TaskState
    features: Floats
    members: tuple[str, ...]
    transaction_id: str
    event_time_ms: int
    risk: float
    verdict: str
    score: Floats
    reasons: tuple[str, ...]

    @property
    def columns(self) -> NDArray[np.int64]:
        """Features that some member looks at, as columns of `features`."""
        return self.state.plan.profiled[self.state.plan.watched]

    @property
    def names(self) -> list[str]:
        """Of `columns`."""
        return [self.spec.features[column].name for column in self.columns.tolist()]

    def surprise(self, features: Floats) -> Floats:
        """How surprising rows (n, f) are to each member, in nats (members, n). Nothing is learned."""
        pairs = list(zip(self.state.plan.members, self.state.members, strict=True))
        scores = np.empty((len(pairs), len(features)))
        score(pairs, np.ascontiguousarray(features), scores)
        return surprised(self.state, scores).nats

    def anomaly_nats(self, features: Floats) -> Floats:
        """The fused anomaly of rows (n, f) in nats, −ln(1 − anomaly): what the risk ranks, and no end to it (n,)."""
        fused: Floats = -np.log1p(-fusion.fuse(self.surprise(features), self.state.plan.weight))
        return fused

    def background(self) -> Floats:
        """Rows (k, len(columns)) that the models learned lately: their reservoir; NaN is missing."""
        held = min(len(self.state.sample), int(self.state.sampled[0]))
        return self.state.sample[:held, self.state.plan.watched].astype(np.float64)

    def credits(self) -> Floats:
        """What each of `columns` adds, by each member alone and in the last line fused: (members + 1, len(columns)).

        A member's line is its part of the last, so that the lines above add up to it: what `core.credit` gives.
        """
        nats = self.surprise(self.features[None])[:, 0]
        plan = self.state.plan
        given, fused = anomaly_contributions(self.state, self.features, nats)
        worth = fusion.worth(nats, plan.weight)
        alone = [credit.fused(one[None], worth[at : at + 1]) for at, one in enumerate(given)]
        return np.stack([*alone, fused])[:, plan.watched]


def find(settings: Settings, path: Path, row_id: str, partitions: int = 1) -> Frozen:
    """The row of the file that has this id, or, where rows have none, this number (from 0).

    The rows before it are folded in first. Raises WrongUsage where there is none, InputStopped, NotConfigured,
    ConfigError.
    """
    source = FileSource(path, settings.mapping, partitions, text_columns(settings.mapping))
    fold = Fold(settings, settings.topics.transactions, partitions)
    rejects = RejectWindow(settings.input.rejects_window_rows, settings.input.rejects_max_share)
    search = _Search(settings, row_id)
    with Display(source.rows) as display:
        compile_kernels(fold.spec, display.preparing)
        rows = 0
        for chunk in ahead(source.chunks(lambda _partition: False)):
            at = search.place(chunk)
            if at is not None:
                fold.decide_at(*_part(chunk, 0, at))
                return _frozen(fold, chunk, at)
            rejects.add(fold.decide_at(*_part(chunk, 0, len(chunk))))
            rows += len(chunk)
            display.update(rows)
        rejects.end()
    raise WrongUsage(f"--row {mask(row_id)}: expected the id of a row of {path.name}, found none among {rows:,} rows")


class _Search:
    """Finds a row by its id, its default id, or where the input has no ids by its number."""

    def __init__(self, settings: Settings, row_id: str) -> None:
        identity = settings.mapping.fields.get("transaction_id")
        self._members = Members({"id": identity}) if identity is not None else None
        self._wanted, self._topic, self._seen = row_id, settings.topics.transactions, 0

    def place(self, chunk: Chunk) -> int | None:
        """Its index in the chunk."""
        start, self._seen = self._seen, self._seen + len(chunk)
        return next(self._places(chunk, start), None)

    def _places(self, chunk: Chunk, start: int) -> Iterator[int]:
        if self._members is None and self._wanted.isdigit() and start <= int(self._wanted) < self._seen:
            yield int(self._wanted) - start
        if self._members is not None:
            ids = self._members.columns([payload or b"" for payload in chunk.payloads])["id"]
            yield from (index for index, one in enumerate(ids) if as_key(one) == self._wanted)
        topic, _, place = self._wanted.rpartition("-")
        topic, _, partition = topic.rpartition("-")
        if topic == self._topic and place.isdigit() and partition.isdigit():
            here = (chunk.partition == int(partition)) & (chunk.offset == int(place))
            yield from np.flatnonzero(here).tolist()


def _part(
    chunk: Chunk, start: int, stop: int
) -> tuple[Sequence[bytes | None], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    some = slice(start, stop)
    return chunk.payloads[some], chunk.partition[some], chunk.offset[some], chunk.record_time_ms[some]


def _frozen(fold: Fold, chunk: Chunk, at: int) -> Frozen:
    """The row decided, and the state from just before it. Raises InputStopped for a reject and before models are."""
    held: list[tuple[TaskState, TransactionBatch]] = []

    def look(state: TaskState, batch: TransactionBatch) -> None:
        held.append((state_codec.restore(fold.spec, state_codec.snapshot(fold.spec, state)), batch))

    fold.look = look
    decided = fold.decide_at(*_part(chunk, at, at + 1))
    if decided.rejects:
        reject = decided.rejects[0]
        raise InputStopped(
            f"expected a row that is a transaction, found a reject: {reject.reason.value}, {fault(reject)}"
        )
    state, batch = held[0]
    features = prepare(fold.spec, state, batch).features
    if state.labels is not None:
        read_label_features(fold.spec, state.labels, batch, features)
    if not any(one.ready(arrays) for one, arrays in zip(state.plan.members, state.members, strict=True)):
        raise InputStopped("expected a row after the models' first window, found one before: nothing has a score yet")
    return _told(fold, state, features[0], float(batch.amount[0]), decided)


def _told(fold: Fold, state: TaskState, row: Floats, amount: float, decided: DecidedRows) -> Frozen:
    plan, name = state.plan, decided.transaction_id[0]
    frozen = Frozen(
        spec=fold.spec,
        state=state,
        features=row,
        members=fold.members[: len(plan.members)],  # heads that were trained elsewhere come after
        transaction_id=name if len(name) < DIGITS_MIN else mask(name),
        event_time_ms=int(decided.event_time_ms[0]),
        risk=float(decided.risk[0]),
        verdict=VERDICTS[int(decided.verdict[0])],
        score=decided.score[: len(plan.members), 0],
        reasons=(),
    )
    told = contributions(fold.spec, state, row, frozen.surprise(row[None])[:, 0])
    evidence = explain(fold.spec, plan.tellable, row, amount, state.reference, plan.edges, told)
    reasons = decided.reasons.get(0) or [mask(one.text) for one in sentences(fold.spec, evidence, amount)]
    return replace(frozen, reasons=tuple(reasons))
