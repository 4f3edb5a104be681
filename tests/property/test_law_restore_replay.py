"""Law, restore ≡ replay: a snapshot and the tail of the log give the state that the whole log gives.

The input holds the faults: a script of batches, snapshots and crashes. After a crash a task starts from its newest
snapshot, or from nothing, and replays what was committed since with its output off, in batches of whatever size.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from detector.codec.snapshot import restore, snapshot
from detector.core.spec import Spec
from detector.core.state import new_state
from tests.streams import codes, cuts, examples, pieces, run, specs, state_bytes, stream

SNAPSHOT, CRASH = "snapshot", "crash"


@examples(250, 40)
@given(
    specs(),
    codes(),
    st.lists(st.one_of(st.integers(0, 40), st.just(SNAPSHOT), st.just(CRASH)), max_size=15),
    cuts(),
)
def test_law_restore_replay(spec: Spec, rows: list[int], script: list[int | str], places: list[int]) -> None:
    log = stream(spec, rows)
    whole, decided = run(spec, [log])

    state, published = new_state(spec), []
    newest: tuple[int, bytes] | None = None
    committed = 0
    for happens in [*script, len(log)]:
        if happens == SNAPSHOT:
            newest = committed, snapshot(spec, state)
        elif happens == CRASH:
            start, data = newest or (0, b"")
            state = restore(spec, data) if data else new_state(spec)
            run(spec, pieces(log.rows(start, committed), places), state)
        else:
            stop = min(len(log), committed + int(happens))
            _, lines = run(spec, [log.rows(committed, stop)], state)
            published += lines
            committed = stop
    assert published == decided
    assert state_bytes(spec, state) == state_bytes(spec, whole)


@examples(100, 20)
@given(specs(), codes(), st.integers(0, 400), st.integers(0, 400))
def test_law_restore_replay_from_any_of_two_snapshots(spec: Spec, rows: list[int], first: int, second: int) -> None:
    log = stream(spec, rows)
    early, middle, tail = pieces(log, [first, second])
    state, _ = run(spec, [early])
    old = snapshot(spec, state)
    state, _ = run(spec, [middle], state)
    new = snapshot(spec, state)
    from_old, _ = run(spec, [middle, tail], restore(spec, old))
    from_new, _ = run(spec, [tail], restore(spec, new))
    whole, _ = run(spec, [log])
    assert state_bytes(spec, from_old) == state_bytes(spec, from_new) == state_bytes(spec, whole)
