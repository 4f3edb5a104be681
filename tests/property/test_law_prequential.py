"""Law, prequential: decision *i* depends on records before *i* and on *i* itself; nothing that follows changes it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector.core.batch import TransactionBatch
from detector.core.spec import Spec
from tests.streams import codes, examples, pieces, run, specs, stream


@examples(250, 40)
@given(specs(), codes(), codes(40), st.integers(0, 400))
def test_law_prequential(spec: Spec, rows: list[int], others: list[int], place: int) -> None:
    batch = stream(spec, rows)
    other = stream(spec, rows[:place] + others)
    past = min(place, len(batch))
    _, decided = run(spec, [batch])
    _, decided_other = run(spec, [other])
    assert decided_other[:past] == decided[:past]


@examples(100, 20)
@given(specs(), codes(), st.integers(0, 400))
def test_law_prequential_whatever_the_rest_of_the_batch_holds(spec: Spec, rows: list[int], place: int) -> None:
    batch = stream(spec, rows)
    past, rest = pieces(batch, [place])
    rest = TransactionBatch(
        rest.offset + 1_000_000,
        rest.event_time_ms[::-1].copy(),
        np.full(len(rest), 1e12),
        rest.key[:, ::-1].copy(),
        rest.longitude.copy(),
        rest.latitude.copy(),
        -rest.numeric,
    )
    joined = TransactionBatch(
        *(
            np.ascontiguousarray(np.concatenate([getattr(past, name), getattr(rest, name)], axis=-1))
            for name in ("offset", "event_time_ms", "amount", "key", "latitude", "longitude", "numeric")
        )
    )
    _, decided = run(spec, [batch])
    _, decided_other = run(spec, [joined])
    assert decided_other[: len(past)] == decided[: len(past)]
