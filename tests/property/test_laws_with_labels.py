"""The laws, where labels come between the transactions: cut invariance, prequential, round trip, restore ≡ replay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.codec.snapshot import restore, snapshot
from detector.core import boosted
from detector.core.batch import TransactionBatch
from detector.core.operator import step
from detector.core.spec import Spec
from detector.core.state import gauges, new_state
from tests.labelled import SPECS, Turn, labelled_stream, play, seeded_turns, turns
from tests.streams import codes, cuts, examples, lines, seeded_codes, state_bytes, stream


@pytest.fixture(autouse=True, scope="module")
def _small_fits() -> Iterator[None]:
    """Fits of the boosted head begin with a few rows, so that its trees are swapped in within a short stream."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boosted, "FIRST_FIT_ROWS", 15)
        patch.setattr(boosted, "FIT_FRAUDS_MIN", 2)
        yield


def specs() -> st.SearchStrategy[Spec]:
    return st.sampled_from(sorted(SPECS)).map(SPECS.__getitem__)


@examples(150, 15)
@given(specs(), codes(300), turns(), cuts())
def test_law_cut_invariance_with_labels(spec: Spec, rows: list[int], script: list[Turn], places: list[int]) -> None:
    """However transactions, and labels of one turn, are cut."""
    batch = labelled_stream(spec, rows)
    whole, cut = new_state(spec), new_state(spec)
    decided, tallies, _ = play(spec, whole, batch, script)
    decided_cut, tallies_cut, _ = play(spec, cut, batch, script, places, one_by_one=True)
    assert decided_cut == decided
    assert tallies_cut == tallies
    assert state_bytes(spec, cut) == state_bytes(spec, whole)


@examples(100, 15)
@given(specs(), codes(300), turns(), st.integers(0, 10), turns())
def test_law_prequential_with_labels(
    spec: Spec, rows: list[int], script: list[Turn], kept: int, others: list[Turn]
) -> None:
    """Other labels later on change no decision before them."""
    batch = labelled_stream(spec, rows)
    past = script[:kept]
    decided, _, _ = play(spec, new_state(spec), batch, [*past, *script[kept:]])
    other, _, _ = play(spec, new_state(spec), batch, [*past, *others])
    same = sum(turn.rows for turn in past)
    same = min(same, len(batch))
    if script[kept:] and others:
        same = min(same + min(script[kept:][0].rows, others[0].rows), len(batch))
    assert other[:same] == decided[:same]


@examples(100, 15)
@given(specs(), codes(300), turns(), st.integers(0, 10))
def test_law_round_trip_with_labels(spec: Spec, rows: list[int], script: list[Turn], place: int) -> None:
    batch = labelled_stream(spec, rows)
    state = new_state(spec)
    _, _, row = play(spec, state, batch, script[:place])
    data = snapshot(spec, state)
    restored = restore(spec, data)
    assert snapshot(spec, restored) == data
    assert gauges(spec, restored) == gauges(spec, state)
    rest = play(spec, state, batch, script[place:], place=row)
    assert play(spec, restored, batch, script[place:], place=row) == rest
    assert state_bytes(spec, restored) == state_bytes(spec, state)


@examples(100, 15)
@given(specs(), codes(300), turns(), st.integers(0, 10), st.integers(0, 10), cuts())
def test_law_restore_replay_with_labels(
    spec: Spec, rows: list[int], script: list[Turn], saved: int, crash: int, places: list[int]
) -> None:
    """A snapshot, and the turns since in the same order, give the state of the whole log."""
    batch = labelled_stream(spec, rows)
    saved, crash = sorted((saved, crash))
    whole = new_state(spec)
    decided, _, _ = play(spec, whole, batch, script)
    state = new_state(spec)
    first, _, row = play(spec, state, batch, script[:saved])
    data = snapshot(spec, state)
    lost, _, _ = play(spec, state, batch, script[saved:crash], place=row)
    state = restore(spec, data)
    again, _, row = play(spec, state, batch, script[saved:crash], places, place=row)
    assert again == lost
    rest, _, _ = play(spec, state, batch, script[crash:], place=row)
    assert first + again + rest == decided
    assert state_bytes(spec, state) == state_bytes(spec, whole)


def test_trees_are_swapped_in_while_the_laws_are_tried() -> None:
    spec = SPECS["every member, trees swapped in"]
    state = new_state(spec)
    play(spec, state, labelled_stream(spec, seeded_codes(1, 300, False)), seeded_turns(1))
    assert gauges(spec, state)["boosted_swaps"] >= 2


@examples(60, 10)
@given(codes(200), cuts())
def test_without_a_label_every_decision_is_the_unsupervised_one(rows: list[int], places: list[int]) -> None:
    """Whether labels might have come or not; the features that labels tell of stand apart."""
    for spec in SPECS.values():
        unlabelled = replace(
            spec, labels=None, features=tuple(feature for feature in spec.features if "fraud" not in feature.name)
        )
        decided = step(spec, new_state(spec), labelled_stream(spec, rows))
        plain = step(unlabelled, new_state(unlabelled), without_identity(stream(unlabelled, rows)))
        kept = [column for column, feature in enumerate(spec.features) if "fraud" not in feature.name]
        decided.features = decided.features[:, kept].copy()
        assert lines(decided) == lines(plain)


def without_identity(batch: TransactionBatch) -> TransactionBatch:
    assert not len(batch.identity)
    return batch
