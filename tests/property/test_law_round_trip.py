"""Law, round trip: `restore(snapshot(s))` equals `s`, and both go on identically."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from detector.codec.snapshot import restore, snapshot
from detector.core.spec import Decision, Spec
from detector.core.state import gauges, saved_arrays
from tests.streams import codes, examples, pieces, run, specs, stream


@examples(250, 40)
@given(specs(), codes(), st.integers(0, 400))
def test_law_round_trip(spec: Spec, rows: list[int], place: int) -> None:
    before, after = pieces(stream(spec, rows), [place])
    state, _ = run(spec, [before])
    data = snapshot(spec, state)
    restored = restore(spec, data)
    assert snapshot(spec, restored) == data
    assert gauges(spec, restored) == gauges(spec, state)
    assert {name: array.dtype for name, array in saved_arrays(restored).items()} == {
        name: array.dtype for name, array in saved_arrays(state).items()
    }
    state, decided = run(spec, [after], state)
    restored, decided_restored = run(spec, [after], restored)
    assert decided_restored == decided
    assert snapshot(spec, restored) == snapshot(spec, state)


@examples(50, 10)
@given(specs(), codes(60))
def test_law_round_trip_shares_no_memory(spec: Spec, rows: list[int]) -> None:
    batch = stream(spec, rows)
    state, _ = run(spec, [batch])
    data = snapshot(spec, state)
    copy = bytes(data)
    run(spec, [batch], restore(spec, data))
    assert data == copy
    assert snapshot(spec, state) == copy


@examples(50, 10)
@given(specs(), codes(60), st.sampled_from([None, 0, 3, 50_000]))
def test_law_round_trip_over_a_change_of_the_budget(spec: Spec, rows: list[int], alerts: int | None) -> None:
    """Thresholds and budget are no part of the state's shape: changed ones go on from the same state."""
    state, _ = run(spec, [stream(spec, rows)])
    other = replace(spec, decision=Decision(alerts, 10.0, 20.0))
    restored = restore(other, snapshot(spec, state))
    expected = saved_arrays(state)
    for name, array in saved_arrays(restored).items():
        assert array.tobytes() == expected[name].tobytes(), name
