"""A table as the matrix that models are fitted to: the detector's own features, made by the code that runs live.

Law (the lab sees what the service sees): row i of `values` holds, bit for bit, the features that `step` makes of that
transaction in a log of these rows, labels arriving `label_delay_ms` after their transactions. Features therefore rest
on earlier rows alone (*prequential*), and label features on labels that had arrived.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.codec.encode import member_names
from detector.codec.masking import mask
from detector.core.batch import DecisionBatch, TransactionBatch
from detector.core.compile import Progress, compile_kernels
from detector.core.spec import Decision, HalfSpaceTrees, Spec
from detector.lab.arrivals import Arrivals, Batch
from detector.lab.errors import InputStopped, NotConfigured
from detector.lab.fold import REJECTED, DecidedRows, Fold, fault
from detector.lab.labels import LABEL_INTERVAL_MS, UNKNOWN, ColumnLabels, truth_of
from detector.lab.replay import BATCH_ROWS
from detector.lab.roles import Roles
from detector.lab.tables import Table
from detector.settings import Settings
from schemas.members import Members

MISSING = ""
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Matrix:
    """n rows in the order of the log; rejected ones are left out.

    `values` float64 (n, f), NaN where missing, with `names`; `categories` object (n, c), text, "" where missing, with
    `category_names`; `codes` float64 (n, c), the same as numbers, NaN where missing; `label` int8 (n,), 1 fraud, 0
    genuine, -1 unknown; `event_time_ms` int64 (n,); `card` uint64 (n,), hashes, 0 where there is none; `amount`
    float64 (n,); `ids` as decisions name the rows; `row` int64 (n,) in the file, from 0. `rejects` counts the rows left
    out; `choices` tells what was decided.
    """

    values: Floats
    names: list[str]
    categories: NDArray[np.object_]
    category_names: list[str]
    codes: Floats
    label: NDArray[np.int8]
    event_time_ms: Integers
    card: NDArray[np.uint64]
    amount: Floats
    ids: list[str]
    row: Integers
    spec: Spec
    rejects: int = 0
    choices: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.values)

    def inputs(self, rows: Integers | slice = slice(None)) -> Floats:
        """What models take of these rows: (k, f + c), values and codes of categories."""
        return np.hstack([self.values[rows], self.codes[rows]]) if self.codes.shape[1] else self.values[rows]

    def windows(self, rows: Integers, length: int) -> Integers:
        """(k, length) rows: each one and the ones before it of its card, oldest first, -1 before the card's first.

        Without cards those before it of the file.
        """
        order = np.lexsort((np.arange(len(self)), self.card))
        place = np.empty(len(self), np.int64)
        place[order] = np.arange(len(self))
        at = place[rows][:, None] + np.arange(1 - length, 1)[None, :]
        found = order[np.maximum(at, 0)]
        same = (at >= 0) & (self.card[found] == self.card[rows][:, None])
        return np.where(same, found, -1)

    def without(self, names: Sequence[str]) -> Matrix:
        """The same less some features."""
        kept = [place for place, name in enumerate(self.names) if name not in names]
        return replace(self, values=self.values[:, kept], names=[self.names[place] for place in kept])

    @property
    def labelled(self) -> bool:
        """Whether the labels know both frauds and genuine rows."""
        return bool((self.label == 1).any() and (self.label == 0).any())


def build(
    table: Table,
    settings: Settings,
    roles: Roles,
    *,
    rows: int | None = None,
    label_delay_ms: int | None = None,
    arrivals: Arrivals | None = None,
    progress: Progress | None = None,
) -> Matrix:
    """The first `rows` of the file (all by default). With `label_delay_ms` and a label, label features are among them.

    `arrivals` of the table, where they were looked at before.

    Raises InputStopped: no label column of that name, no row accepted; NotConfigured: the label among the inputs.
    """
    settings, label_path, labels = labelled(table, settings, roles, label_delay_ms)
    fold = FeatureFold(settings, labels)
    names = list(roles.categories)
    paths: dict[str, str] = {f"c{position}": table.path_of(name) for position, name in enumerate(names)}
    if label_path is not None:
        paths["label"] = label_path
    members = Members(paths)
    arrivals = arrivals or Arrivals(table, settings, rows)
    compile_kernels(fold.spec, progress)
    parts = [_part(fold, members, len(names), batch) for batch in arrivals.batches(BATCH_ROWS)]
    matrix = _joined(fold, parts, names)
    if not len(matrix):
        raise InputStopped(f"{table.path}: expected rows that are transactions, found none{_example(fold)}")
    choices = [*arrivals.choices, *_told(matrix, fold, roles.label)]
    return replace(matrix, choices=choices)


def labelled(
    table: Table, settings: Settings, roles: Roles, delay_ms: int | None
) -> tuple[Settings, str | None, ColumnLabels | None]:
    """(settings, the label's path in a payload, labels to learn): with a label and a delay, settings that learn it.

    Raises as `check_label`.
    """
    check_label(table, settings, roles.label)
    if roles.label is None:
        return settings, None, None
    path = table.path_of(roles.label)
    if delay_ms is None:
        return settings, path, None
    return with_labels(settings), path, ColumnLabels(path, delay_ms)


def as_labels(values: Iterable[Any]) -> NDArray[np.int8]:
    """What the values of a label column say, (n,): 1 fraud, 0 genuine, -1 unknown."""
    return np.array([UNKNOWN if one is None else int(one) for one in map(truth_of, values)], np.int8)


def card_key(spec: Spec) -> int | None:
    """The place of the cards' hashes among a batch's keys, or the customers' where there are no cards."""
    owner = next((entity.key for entity in spec.entities if entity.name in ("card", "customer")), None)
    return None if owner is None else spec.keys.index(owner)


def cards_of(batch: TransactionBatch, key: int | None) -> NDArray[np.uint64]:
    """Hashes of the rows' cards (n,), 0 where there is none."""
    return np.zeros(len(batch), np.uint64) if key is None else batch.key[key]


def check_label(table: Table, settings: Settings, label: str | None) -> None:
    """Raises InputStopped where the table has no such column, NotConfigured where it is an input of the detector."""
    if label is None:
        return
    if label not in table.columns:
        raise InputStopped(
            f"{table.path}: expected a label column {label!r}, found {', '.join(table.columns)}; name one of these "
            "with --label"
        )
    mapping = settings.mapping
    places = [*mapping.fields.items(), *((f"numeric.{name}", path) for name, path in mapping.numeric.items())]
    for place, path in places:
        if path == table.path_of(label):
            raise NotConfigured(
                f"input.{place}: reads {label}, which is the label: what is to be told would be told beforehand; "
                "take it out of the configuration, or name another --label"
            )


def with_labels(settings: Settings) -> Settings:
    """The same, learning labels."""
    if settings.labels.enabled:
        return settings
    return settings.model_copy(update={"labels": settings.labels.model_copy(update={"enabled": True})})


class FeatureFold(Fold):
    """The fold, kept for its features: with the least of models, for features do not rest on what models say."""

    def __init__(self, settings: Settings, labels: ColumnLabels | None) -> None:
        super().__init__(settings, settings.topics.transactions, 1, labels, LABEL_INTERVAL_MS)
        spec = self.spec
        self.spec = replace(
            spec,
            members=(HalfSpaceTrees(trees=1, height=1),),
            heads=None,
            decision=Decision(alerts_per_day=None, alert_risk_min=np.inf, review_risk_min=np.inf),
            labels=None if spec.labels is None else replace(spec.labels, boosted_trainer=""),
        )
        self.members = member_names(self.spec)
        self.card_key = card_key(spec)
        self._next = 0
        self.parts: list[tuple[NDArray[np.int64], TransactionBatch, Floats]] = []
        self.last_reject = ""

    def _tell(
        self,
        partition: int,
        batch: TransactionBatch,
        record: NDArray[np.int64],
        decisions: DecisionBatch,
        payloads: Sequence[bytes | None],
        rows: DecidedRows,
    ) -> None:
        super()._tell(partition, batch, record, decisions, payloads, rows)
        self.parts.append((record, batch, decisions.features))

    def take(self, batch: Batch) -> DecidedRows:
        """The next rows of the log."""
        count = len(batch.payloads)
        offset = self._next + np.arange(count)
        self._next += count
        return self.decide_at(batch.payloads, np.zeros(count, np.int64), offset, batch.time_ms)


@dataclass(slots=True)
class _Part:
    values: Floats
    event_time_ms: Integers
    card: NDArray[np.uint64]
    amount: Floats
    label: NDArray[np.int8]
    categories: NDArray[np.object_]
    ids: list[str]
    row: Integers
    rejects: int


def _part(fold: FeatureFold, members: Members, categories: int, batch: Batch) -> _Part:
    decided = fold.take(batch)
    taken, fold.parts = fold.parts, []
    kept = np.flatnonzero(decided.verdict != REJECTED)
    for reject in list(decided.rejects.values())[-1:]:
        fold.last_reject = f"{reject.reason.value}, {fault(reject)}"
    columns = members.columns([batch.payloads[index] for index in kept.tolist()])
    texts = np.empty((len(kept), categories), object)
    for position in range(categories):
        texts[:, position] = [MISSING if value is None else mask(str(value)) for value in columns[f"c{position}"]]
    return _Part(
        values=np.concatenate([features for _, _, features in taken] or [np.empty((0, len(fold.spec.features)))]),
        event_time_ms=decided.event_time_ms[kept],
        card=np.concatenate([np.empty(0, np.uint64), *(cards_of(one, fold.card_key) for _, one, _ in taken)]),
        amount=np.concatenate([np.empty(0), *(one.amount for _, one, _ in taken)]),
        label=as_labels(columns.get("label", [None] * len(kept))),
        categories=texts,
        ids=[decided.transaction_id[index] for index in kept.tolist()],
        row=batch.row[kept],
        rejects=len(decided.rejects),
    )


def _joined(fold: FeatureFold, parts: list[_Part], category_names: list[str]) -> Matrix:
    values = np.concatenate([part.values for part in parts] or [np.empty((0, len(fold.spec.features)))])
    categories = np.concatenate([part.categories for part in parts] or [np.empty((0, len(category_names)), object)])
    codes = np.empty(categories.shape)
    for position in range(categories.shape[1]):
        known, code = np.unique(categories[:, position].astype(str), return_inverse=True)
        codes[:, position] = np.where(known[code] == MISSING, np.nan, code)
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) if parts else np.empty(0)
        for name in ("label", "event_time_ms", "card", "amount", "row")
    }
    return Matrix(
        values=values,
        names=[feature.name for feature in fold.spec.features],
        categories=categories,
        category_names=category_names,
        codes=codes,
        ids=[one for part in parts for one in part.ids],
        spec=fold.spec,
        rejects=sum(part.rejects for part in parts),
        **joined,
    )


def _told(matrix: Matrix, fold: FeatureFold, label: str | None) -> list[str]:
    """What is odd about the columns."""
    lines = []
    if matrix.rejects:
        lines.append(f"{matrix.rejects:,} rows left out: no transactions by this configuration{_example(fold)}")
    empty = [name for name, column in zip(matrix.names, matrix.values.T, strict=True) if np.isnan(column).all()]
    if empty:
        lines.append(f"features without any value, which tell nothing: {', '.join(empty)}")
    constant = [
        name
        for name, column in zip(matrix.names, matrix.values.T, strict=True)
        if name not in empty and np.nanmin(column) == np.nanmax(column)
    ]
    if constant:
        lines.append(f"features of one value only, which tell nothing: {', '.join(constant)}")
    if label is not None:
        counts = Counter(matrix.label.tolist())
        lines.append(f"label {label}: {counts[1]:,} frauds, {counts[0]:,} genuine, {counts[UNKNOWN]:,} unknown")
    return lines


def _example(fold: FeatureFold) -> str:
    return f"; the last one: {fold.last_reject}" if fold.last_reject else ""
