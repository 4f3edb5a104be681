"""Labels for the tests of the core: scripts in which transactions and labels take turns, and a spec that reads all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from detector.core.batch import TransactionBatch
from detector.core.defaults import default_label_features
from detector.core.labels import LabelBatch, LabelTally, learn_labels
from detector.core.operator import step
from detector.core.spec import Labels, Spec
from detector.core.state import TaskState
from tests.streams import CARD_ONLY, ENTITIES, EVERY_MEMBER, EVERYTHING, HOUR, features_of, lines, stream

NAMES = tuple(feature.name for feature in EVERYTHING.features)
LABELLED = replace(
    EVERYTHING,
    features=features_of(*NAMES, *default_label_features(ENTITIES), "card.fraud_count.2h"),
    labels=Labels(pending_rows_max=300, frauds_until_half=2.0),
)
TIGHT = replace(
    CARD_ONLY,
    features=(*CARD_ONLY.features, *features_of("card.fraud_count.1h", "card.fraud_rate.1d")),
    labels=Labels(pending_rows_max=20, frauds_until_half=1.0, genuine_share=1.0),
    allowed_lateness_ms=40 * HOUR,
)
UNTOLD = replace(CARD_ONLY, labels=Labels(pending_rows_max=1_024))  # labels, and no feature of theirs
SWAPPING = replace(  # every member, both heads, and trees that are swapped in on the way
    CARD_ONLY,
    features=TIGHT.features,
    members=EVERY_MEMBER,
    labels=Labels(
        pending_rows_max=200,
        frauds_until_half=1.0,
        boosted_trainer="tests.labelled.stumps",
        boosted_trees=3,
        boosted_depth=2,
        boosted_delay_rows=7,
    ),
)
SPECS = {"everything": LABELLED, "tight": TIGHT, "untold": UNTOLD, "every member, trees swapped in": SWAPPING}


@dataclass(frozen=True)
class Turn:
    """After `rows` transactions these labels: (rows back from the newest, fraud, arrival after the newest in hours)."""

    rows: int
    labels: tuple[tuple[int, bool, int], ...]


def turns() -> st.SearchStrategy[list[Turn]]:
    label = st.tuples(st.integers(-3, 60), st.booleans(), st.sampled_from([0, 0, 0, 1, 30, -1, -50, 24 * 8]))
    turn = st.builds(Turn, st.integers(0, 60), st.lists(label, max_size=12).map(tuple))
    return st.one_of(st.lists(turn, max_size=10), st.builds(seeded_turns, st.integers(0, 2**32 - 1)))


def seeded_turns(seed: int) -> list[Turn]:
    """Ten turns of a seed, with labels enough for many fits: hypothesis seldom draws long lists."""
    random = np.random.RandomState(seed)
    script = []
    for _ in range(10):
        back, fraud = random.randint(0, 40, 12), random.random_sample(12) < 0.3
        labels = tuple((int(one), bool(other), 0) for one, other in zip(back, fraud, strict=True))
        script.append(Turn(int(random.randint(10, 40)), labels))
    return script


def labelled_stream(spec: Spec, rows: Sequence[int]) -> TransactionBatch:
    """The stream with identities; each 17th row repeats the identity before it."""
    batch = stream(spec, rows)
    number = np.arange(len(batch))
    batch.identity = identity_of(np.where(number % 17 == 16, number - 1, number))
    return batch


def identity_of(number: np.ndarray) -> np.ndarray:
    """Identities that collide in small indexes."""
    return ((number // 3 + 1).astype(np.uint64) << np.uint64(32)) + (number % 3).astype(np.uint64)


def label_batch(batch: TransactionBatch, place: int, turn: Turn) -> LabelBatch:
    """The turn's labels after `place` rows."""
    number = place - 1 - np.array([back for back, _, _ in turn.labels], np.int64)
    newest_ms = int(batch.event_time_ms[:place].max()) if place else 1_700_000_000_000
    return LabelBatch(
        identity_of(np.maximum(number, 0) + 10_000_000 * (number < 0)),
        np.array([fraud for _, fraud, _ in turn.labels], np.bool_),
        np.array([newest_ms + hours * HOUR for _, _, hours in turn.labels], np.int64),
    )


def play(
    spec: Spec,
    state: TaskState,
    batch: TransactionBatch,
    script: Sequence[Turn],
    cuts: Sequence[int] = (),
    place: int = 0,
    one_by_one: bool = False,
) -> tuple[list[str], list[LabelTally], int]:
    """Fold the script from row `place` on: (a line a decision, tallies, next row). `cuts` part what no label parts."""
    decided: list[str] = []
    tallies = []
    for turn in script:
        stop = min(place + turn.rows, len(batch))
        for start, end in between(place, stop, cuts):
            decided += lines(step(spec, state, batch.rows(start, end)))
        place = stop
        labels = label_batch(batch, place, turn)
        if one_by_one:
            parts = [labels.rows(index, index + 1) for index in range(len(labels))]
            tallies.append(sum((learn_labels(spec, state, part) for part in parts), LabelTally()))
        else:
            tallies.append(learn_labels(spec, state, labels))
    return decided, tallies, place


def between(start: int, stop: int, cuts: Sequence[int]) -> list[tuple[int, int]]:
    edges = [start, *sorted(cut for cut in cuts if start < cut < stop), stop]
    return list(pairwise(edges))


def stumps(inputs: np.ndarray, is_fraud: np.ndarray, trees: int, depth: int) -> tuple[np.ndarray, ...]:
    """A trainer in plain numpy: a stump an input, at the mean of the frauds, missing to the left."""
    shape = (trees, 2 ** (depth + 1) - 1)
    feature, threshold = np.full(shape, -1, np.int16), np.zeros(shape, np.float32)
    value, left_if_missing = np.zeros(shape, np.float32), np.ones(shape, np.bool_)
    for tree in range(min(trees, inputs.shape[1])):
        known = inputs[is_fraud, tree][~np.isnan(inputs[is_fraud, tree])]
        if len(known):
            feature[tree, 0], threshold[tree, 0] = tree, known.mean()
            value[tree, 1], value[tree, 2] = -0.1, 0.1 * len(is_fraud)
    return feature, threshold, value, left_if_missing
