"""Bytes that older code wrote: restored by today's, they decide as they did; seeds give the splits that they gave."""

from __future__ import annotations

import numpy as np
import pytest

from detector.codec.snapshot import VERSION, restore, snapshot
from detector.core.half_space_trees import draw_splits
from detector.core.operator import step
from detector.core.state import new_state
from tests.golden import core as golden

EXACT = ("score", "risk", "verdict", "late", "model_version", "reasons")


@pytest.mark.parametrize("version", range(1, VERSION + 1))
def test_a_frozen_snapshot_goes_on_as_it_did(version: int) -> None:
    frozen = np.load(golden.snapshot_file(version))
    tail = golden.batch().rows(golden.CUT, golden.ROWS)
    found = golden.decisions(step(golden.SPEC, restore(golden.SPEC, frozen["snapshot"].tobytes()), tail), tail.amount)
    for name in EXACT:
        np.testing.assert_array_equal(found[name], frozen[name], err_msg=name)
    # sines and logarithms differ in their last bit from one processor to the next
    np.testing.assert_allclose(found["features"], frozen["features"], rtol=1e-9)
    assert np.count_nonzero(found["verdict"] == 2) > 20
    assert any(found["reasons"])


def test_the_same_rows_give_the_frozen_bytes() -> None:
    state = new_state(golden.SPEC)
    step(golden.SPEC, state, golden.batch().rows(0, golden.CUT))
    frozen = np.load(golden.snapshot_file(VERSION))
    assert snapshot(golden.SPEC, state) == frozen["snapshot"].tobytes()


def test_a_seed_gives_the_same_splits_for_ever() -> None:
    frozen = np.load(golden.SPLITS_FILE)
    splits = draw_splits(**golden.SPLITS)
    np.testing.assert_array_equal(splits.feature, frozen["feature"])
    np.testing.assert_array_equal(splits.threshold, frozen["threshold"])
