"""Law, cut invariance: `step(a)` then `step(b)` equals `step(a ++ b)`, decisions and state, bit for bit at any cut."""

from __future__ import annotations

import pytest
from hypothesis import given

from detector.core.operator import conclude, prepare
from detector.core.spec import Spec
from detector.core.state import new_state
from detector.core.threads import SHARED_ROWS_MIN
from tests.streams import (
    SPECS,
    WITHOUT_JIT,
    codes,
    cuts,
    examples,
    lines,
    pieces,
    run,
    seeded_codes,
    specs,
    state_bytes,
    stream,
)


@examples(250, 40)
@given(specs(), codes(), cuts())
def test_law_cut_invariance(spec: Spec, rows: list[int], places: list[int]) -> None:
    batch = stream(spec, rows)
    whole, decided = run(spec, [batch])
    cut, decided_cut = run(spec, pieces(batch, places))
    assert decided_cut == decided
    assert state_bytes(spec, cut) == state_bytes(spec, whole)


@examples(100, 20)
@given(specs(), codes())
def test_law_cut_invariance_row_by_row(spec: Spec, rows: list[int]) -> None:
    batch = stream(spec, rows)
    whole, decided = run(spec, [batch])
    cut, decided_cut = run(spec, pieces(batch, range(len(batch))))
    assert decided_cut == decided
    assert state_bytes(spec, cut) == state_bytes(spec, whole)


@pytest.mark.skipif(WITHOUT_JIT, reason="threads are for compiled kernels; a thousand rows take a minute without")
@pytest.mark.parametrize("name", SPECS)
def test_law_cut_invariance_over_threads(name: str) -> None:
    """A long batch is shared out to two threads, short ones are not."""
    spec = SPECS[name]
    rows = 2 * SHARED_ROWS_MIN
    batch = stream(spec, seeded_codes(3, rows, dense=True))
    whole, decided = run(spec, [batch])
    cut, decided_cut = run(spec, pieces(batch, range(0, rows, SHARED_ROWS_MIN // 3)))
    assert decided_cut == decided
    assert state_bytes(spec, cut) == state_bytes(spec, whole)


@examples(100, 10)
@given(specs(), codes(), cuts())
def test_law_cut_invariance_with_features_made_ahead(spec: Spec, rows: list[int], places: list[int]) -> None:
    """Features of the next batch may be made before this one is decided."""
    batch = stream(spec, rows)
    whole, decided = run(spec, [batch])
    state, told, begun = new_state(spec), [], []
    for piece in pieces(batch, places):
        begun.append(prepare(spec, state, piece))
        if len(begun) == 2:
            told += lines(conclude(spec, state, begun.pop(0)))
    for prepared in begun:
        told += lines(conclude(spec, state, prepared))
    assert told == decided
    assert state_bytes(spec, state) == state_bytes(spec, whole)
