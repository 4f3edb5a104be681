"""Late labels: what a transaction turned out to be, folded into the state between two batches.

Laws: *prequential*, a label changes no decision made before it was folded in, and its entity's features only from the
event time on at which it arrived; *cut invariance*, for the same order of labels and transactions. With no label folded
in every decision is what it is without this module.

The first label of a row is learned. A second one that says the same is a *duplicate*: nothing happens. One that says
otherwise is *contradictory*, and the last word wins: the entity's counts are corrected as if the first had never been
said, and the next fit of the head takes the row as what it is now. A
label whose row was never seen, or has left the pending store, is an *orphan*: nothing happens. A label whose event time
is older than the watermark counts as arrived at the watermark.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detector.core import boosted, budget, head
from detector.core.batch import TransactionBatch
from detector.core.boosted import Boosted
from detector.core.confirmed import FIRST, FLIPPED, NOTHING, count_labels_kernel, read_kernel
from detector.core.entities import (
    DONE,
    SLOTS,
    EntityTable,
    find_slot_kernel,
    grown,
    new_table,
)
from detector.core.jit import kernel
from detector.core.pending import (
    FRAUD,
    GENUINE,
    INPUT_MAX,
    UNKNOWN,
    Pending,
    new_pending,
    put_kernel,
    with_room,
)
from detector.core.plan import EntityPlan, plan_entity
from detector.core.spec import LABEL_KINDS, Labels, Spec
from detector.core.windows import (
    SCRATCH,
)

if TYPE_CHECKING:
    from detector.core.state import TaskState

# positions in `LabelState.counter`; FRAUDS and LABELLED are as corrected, of all rows ever labelled
ROWS_PUT, LEARNED, DUPLICATE, CONTRADICTORY, ORPHAN, FRAUDS, LABELLED = range(7)
COUNTERS = 7


@dataclass(slots=True)
class LabelBatch:
    """n labels in log order: `identity` uint64 (n,), `is_fraud` bool (n,), `event_time_ms` int64 (n,), of arrival."""

    identity: NDArray[np.uint64]
    is_fraud: NDArray[np.bool_]
    event_time_ms: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.identity)

    def rows(self, start: int, stop: int) -> LabelBatch:
        """Labels `start:stop` as views."""
        part = slice(start, stop)
        return LabelBatch(self.identity[part], self.is_fraud[part], self.event_time_ms[part])


@dataclass(frozen=True, slots=True)
class LabelTally:
    """What became of the labels of a batch; the first four counts add up to its length.

    `late`: of those learned, how many were older than the watermark. `error` float64 (k,): how wrong the head was about
    rows labelled for the first time, before it learned them. `delay_s` float64 (learned,): from a row's event time to
    its label's own, in seconds; below 0 where clocks disagree.
    """

    learned: int = 0
    duplicate: int = 0
    contradictory: int = 0
    orphan: int = 0
    late: int = 0
    error: NDArray[np.float64] = field(default_factory=lambda: np.empty(0), compare=False)
    delay_s: NDArray[np.float64] = field(default_factory=lambda: np.empty(0), compare=False)

    def __add__(self, other: LabelTally) -> LabelTally:
        """The counts of both together."""
        return LabelTally(
            self.learned + other.learned,
            self.duplicate + other.duplicate,
            self.contradictory + other.contradictory,
            self.orphan + other.orphan,
            self.late + other.late,
        )


@dataclass(slots=True)
class LabelState:
    """The part of a task's state that labels need. `plans` follow from the spec, the rest is folded forward."""

    plans: tuple[EntityPlan, ...]
    counter: NDArray[np.int64]
    pending: Pending
    tables: list[EntityTable]
    head: dict[str, NDArray[Any]]
    boosted: Boosted

    def nbytes(self) -> int:
        """Bytes held, spare capacity included."""
        tables = sum(array.nbytes for table in self.tables for array in table)
        own = sum(array.nbytes for array in self.pending) + sum(array.nbytes for array in self.head.values())
        return self.counter.nbytes + tables + own + self.boosted.nbytes()


def new_label_state(spec: Spec) -> LabelState | None:
    """The state before the first record; None where the spec has no labels."""
    if spec.labels is None:
        return None
    labelled = {feature.entity for feature in spec.features if feature.kind in LABEL_KINDS}
    plans = tuple(plan_entity(spec, entity, of_labels=True) for entity in spec.entities if entity.name in labelled)
    inputs = len(spec.features) + len(spec.members) + 1
    return LabelState(
        plans=plans,
        counter=np.zeros(COUNTERS, np.int64),
        pending=new_pending(spec.labels.pending_rows_max, len(plans), inputs),
        tables=[new_table(recent_width=0, distinct=0, places=False, detailed=False) for _ in plans],
        head=head.new_arrays(inputs),
        boosted=boosted.new_boosted(spec.labels, inputs),
    )


def read_label_features(spec: Spec, state: LabelState, batch: TransactionBatch, out: NDArray[np.float64]) -> None:
    """Fill the columns of `out` (n, features) that labels tell of; within a batch nothing of this changes."""
    labelled = int(state.counter[LABELLED])
    prior = float(state.counter[FRAUDS]) / labelled if labelled else 0.0
    for plan, table in zip(state.plans, state.tables, strict=True):
        parts = (table.cells, table.key, table.chain, table.whole, table.sums, table.detail)
        lateness_s = spec.allowed_lateness_ms // 1000
        read_kernel(batch.event_time_ms, batch.key[plan.key], plan.window_s, lateness_s, plan.totals, prior, parts, out)


def rows_to_swap(labels: Labels, state: LabelState, most: int) -> int:
    """Rows, `most` at most, that may be decided before trees are swapped in; where they are due, they are, at once."""
    rows = int(state.counter[ROWS_PUT])
    if boosted.rows_to_swap(state.boosted, rows, most) == 0:
        boosted.swap(labels, state.boosted)
        state.head["counter"][head.LEVELED] = 0
    return boosted.rows_to_swap(state.boosted, rows, most)


def supervise(
    spec: Spec,
    state: LabelState,
    batch: TransactionBatch,
    features: NDArray[np.float64],
    nats: NDArray[np.float64],
    anomaly: NDArray[np.float64],
) -> NDArray[np.float64]:
    """One score a row (n,) in 0–1 from the unsupervised one, `anomaly` (n,), and the head; remembers the rows.

    The head sees `features` (n, f) and the members' surprise, `nats` (members, n), besides.
    Without a fraud among the labels so far the scores are `anomaly` itself. All rows of a batch, in order, and no more
    at once than `rows_to_swap` allows.
    """
    assert spec.labels is not None, "a state has labels where its spec has"
    assert len(batch.identity) == len(batch), "with labels every row has an identity"
    inputs = head_inputs(features, nats, anomaly)
    rows, frauds, rows_max = int(state.counter[ROWS_PUT]), int(state.counter[FRAUDS]), spec.labels.pending_rows_max
    score = head.blend(spec.labels, state.head, state.pending, state.boosted, rows, frauds, inputs, anomaly)
    state.pending = with_room(state.pending, rows, rows_max, len(batch))
    key = np.empty((len(state.plans), len(batch)), np.uint64)
    for position, plan in enumerate(state.plans):
        key[position] = batch.key[plan.key]
    put_kernel(rows, rows_max, batch.identity, batch.event_time_ms, key, inputs, state.pending)
    state.counter[ROWS_PUT] += len(batch)
    return score


def head_inputs(
    features: NDArray[np.float64], nats: NDArray[np.float64], anomaly: NDArray[np.float64]
) -> NDArray[np.float32]:
    """What the head sees, (n, features + members + 1): all features, then each member's surprise and the anomaly in
    bits.
    """
    own = features.shape[1]
    inputs = np.empty((len(features), own + len(nats) + 1), np.float32)
    held = inputs[:, :own]  # np.clip takes twice as long over a single row
    np.minimum(np.maximum(features, -INPUT_MAX), INPUT_MAX, out=held, casting="same_kind")
    inputs[:, own:-1] = nats.T / np.log(2.0)
    inputs[:, -1] = head.bits_of(anomaly)
    return inputs


def head_credits(labels: Labels, state: LabelState, inputs: NDArray[np.float32]) -> tuple[NDArray[np.float64], float]:
    """What each input of one row (1, m) adds to its blended bits by the head (m,), and the head's share in the blend.

    Zeros and 0 while the anomaly stands alone. Call before another row is decided.
    """
    if not state.head["counter"][head.FITTED]:
        return np.zeros(inputs.shape[1]), 0.0
    share = head.share_of(labels, max(0, int(state.counter[FRAUDS])))
    credit, _ = head.credits(state.head, state.boosted, inputs)
    return share * head.bits_a_nat(state.head["level"]) * credit, share


def learn_labels(spec: Spec, state: TaskState, labels: LabelBatch) -> LabelTally:
    """Fold labels into `state`, in place. Call between two batches; raises ValueError where the spec has no labels."""
    own = state.labels
    if spec.labels is None or own is None:
        raise ValueError("expected a spec with labels, found one without: set labels.enabled")
    if not len(labels):
        return LabelTally()
    rows = int(own.counter[ROWS_PUT])
    boosted.start(spec.labels, own.boosted, own.pending, rows)
    before = own.counter.copy()
    watermark_ms = int(state.clock[budget.EVENT_MS]) - spec.allowed_lateness_ms
    slot, change = np.empty(len(labels), np.int64), np.zeros(len(labels), np.int8)
    pending = own.pending
    resolve_kernel(
        labels.identity,
        labels.is_fraud,
        np.maximum(labels.event_time_ms, max(0, watermark_ms)) // 1000,
        pending.cells,
        pending.identity,
        pending.label,
        pending.arrived_s,
        own.counter,
        slot,
        change,
    )
    changed = np.flatnonzero(change)
    first = np.flatnonzero(change == FIRST)
    error = head.errors(spec.labels, own.head, pending, slot[first], labels.is_fraud[first])
    if len(changed):
        _count(spec, own, slot[changed], labels.is_fraud[changed], change[changed], watermark_ms // 1000)
        head.note(own.head, labels.is_fraud[changed] | (change[changed] == FLIPPED))
    told = own.counter - before
    learned, duplicate, contradictory, orphan = (
        int(told[kind]) for kind in (LEARNED, DUPLICATE, CONTRADICTORY, ORPHAN)
    )
    told_ms = labels.event_time_ms[first]
    late = int(np.count_nonzero(told_ms < watermark_ms))
    delay_s = (told_ms - pending.event_time_ms[slot[first]]) / 1e3
    return LabelTally(learned, duplicate, contradictory, orphan, late, error, delay_s)


def _count(
    spec: Spec,
    own: LabelState,
    slot: NDArray[np.int64],
    is_fraud: NDArray[np.bool_],
    change: NDArray[np.int8],
    watermark_s: int,
) -> None:
    """Take what changed into the tables of the entities."""
    lateness_s = spec.allowed_lateness_ms // 1000
    arrived_s = own.pending.arrived_s[slot].astype(np.int64)
    for position, plan in enumerate(own.plans):
        key = own.pending.key[slot, position]
        scratch = np.empty((plan.scratch_rows, SCRATCH))
        asked = (plan.window_s, plan.cell_per_s, lateness_s, plan.entity.slots_max, watermark_s)
        row = 0
        while True:
            table = own.tables[position]
            row, why = count_labels_kernel(row, key, is_fraud, change, arrived_s, asked, table, scratch)
            if why == DONE:
                break
            own.tables[position] = grown(table, why)


@kernel
def resolve_kernel(wanted, is_fraud, arrival_s, cells, identity, label, arrived_s, counter, slot, change):
    """Find each label's row and say what the label does to it; fills `slot` (n,), -1 where none, and `change` (n,)."""
    for i in range(len(wanted)):
        row = find_slot_kernel(cells, identity, wanted[i]) if wanted[i] != 0 else -1
        slot[i] = row
        change[i] = NOTHING
        if row < 0:
            counter[ORPHAN] += 1
            continue
        said = FRAUD if is_fraud[i] else GENUINE
        if label[row] == said:
            counter[DUPLICATE] += 1
            continue
        if label[row] == UNKNOWN:
            change[i] = FIRST
            counter[LEARNED] += 1
            counter[LABELLED] += 1
            counter[FRAUDS] += said == FRAUD
            arrived_s[row] = arrival_s[i]
        else:
            change[i] = FLIPPED
            counter[CONTRADICTORY] += 1
            counter[FRAUDS] += 1 if said == FRAUD else -1
        label[row] = said


def label_gauges(spec: Spec, state: LabelState | None) -> dict[str, float]:
    """Figures for the metrics; none where the spec has no labels."""
    if spec.labels is None or state is None:
        return {}
    counter = state.counter
    frauds = float(max(counter[FRAUDS], 0))
    return {
        "labels_learned": float(counter[LEARNED]),
        "labels_duplicate": float(counter[DUPLICATE]),
        "labels_contradictory": float(counter[CONTRADICTORY]),
        "labels_orphan": float(counter[ORPHAN]),
        "labelled_frauds": frauds,
        "head_weight": head.share_of(spec.labels, frauds),
        "labels_pending_rows": float(min(counter[ROWS_PUT], len(state.pending.identity))),
        "boosted_swaps": float(state.boosted.arrays["counter"][boosted.SWAPS]),
        "boosted_version": float(state.boosted.arrays["counter"][boosted.VERSION]),
        "labelled_entities": float(sum(table.counter[SLOTS] for table in state.tables)),
    }
