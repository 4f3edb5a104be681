"""Law, cut invariance: `step(a)` then `step(b)` equals `step(a ++ b)`, decisions and state, bit for bit, for every cut."""

from __future__ import annotations

from hypothesis import given

from detector.core.spec import Spec
from tests.streams import codes, cuts, examples, pieces, run, specs, state_bytes, stream


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
