"""What is no snapshot of this spec is refused, in words; nothing else than SnapshotError leaves `restore`."""

from __future__ import annotations

import json
import struct
from dataclasses import replace

import numpy as np
import pytest

from detector.codec.snapshot import MAGIC, VERSION, SnapshotError, restore, snapshot
from detector.core.spec import Decision, HalfSpaceTrees
from detector.core.state import new_state, saved_arrays
from tests.streams import CARD_ONLY, EVERYTHING, run, seeded_codes, stream


def a_snapshot() -> bytes:
    state, _ = run(CARD_ONLY, [stream(CARD_ONLY, seeded_codes(1, 60, True))])
    return snapshot(CARD_ONLY, state)


def test_layout() -> None:
    data = a_snapshot()
    magic, version, length = struct.unpack_from("<4sBI", data)
    assert (magic, version) == (MAGIC, VERSION) == (b"SFDS", 1)
    header = json.loads(data[9 : 9 + length])
    assert header["state_fingerprint"] == CARD_ONLY.state_fingerprint()
    assert header["spec_fingerprint"] == CARD_ONLY.fingerprint()
    sizes = [np.dtype(item["dtype"]).itemsize * int(np.prod(item["shape"])) for item in header["arrays"]]
    assert len(data) == 9 + length + sum(sizes)
    assert [item["name"] for item in header["arrays"]] == list(saved_arrays(new_state(CARD_ONLY)))
    assert all(item["dtype"][0] in "<|" for item in header["arrays"])


@pytest.mark.parametrize("length", [0, 1, 8, 9, 100, -1])
def test_bytes_that_are_cut_off(length: int) -> None:
    with pytest.raises(SnapshotError, match=r"restore an older one|rebuild the state from the log"):
        restore(CARD_ONLY, a_snapshot()[:length])


def test_every_flipped_byte_is_found() -> None:
    data = a_snapshot()
    step = max(1, len(data) // 400)
    for place in [*range(600), *range(600, len(data), step)]:
        damaged = bytearray(data)
        damaged[place] ^= 0x01
        with pytest.raises(SnapshotError):
            restore(CARD_ONLY, bytes(damaged))


def test_bytes_too_many_are_found() -> None:
    with pytest.raises(SnapshotError, match="SHA-256"):
        restore(CARD_ONLY, a_snapshot() + b"\0")


def test_other_bytes_and_other_versions() -> None:
    data = a_snapshot()
    with pytest.raises(SnapshotError, match=r"expected b'SFDS' version 1, found b'PK\\x03\\x04'"):
        restore(CARD_ONLY, b"PK\x03\x04" + data[4:])
    with pytest.raises(
        SnapshotError, match="version 2; rebuild the state from the log, or run the release that wrote it"
    ):
        restore(CARD_ONLY, data[:4] + b"\x02" + data[5:])


@pytest.mark.parametrize(
    "other",
    [
        replace(CARD_ONLY, seed=1),
        replace(CARD_ONLY, features=CARD_ONLY.features[:-1]),
        replace(CARD_ONLY, members=(HalfSpaceTrees(3, 3, 10),)),
        replace(CARD_ONLY, allowed_lateness_ms=1),
        EVERYTHING,
    ],
)
def test_a_snapshot_of_another_spec(other: object) -> None:
    with pytest.raises(SnapshotError, match=r"expected state fingerprint .* features, entities or models were changed"):
        restore(other, a_snapshot())


def test_thresholds_budget_and_partitions_may_change() -> None:
    changed = replace(CARD_ONLY, decision=Decision(7, 950.0, 960.0), partitions=12)
    restore(changed, a_snapshot())
    assert changed.fingerprint() != CARD_ONLY.fingerprint()
    assert changed.state_fingerprint() == CARD_ONLY.state_fingerprint()


def test_spare_capacity_is_not_saved() -> None:
    """As many bytes for a table that had to grow and shrink as its rows in use need."""
    state, _ = run(EVERYTHING, [stream(EVERYTHING, seeded_codes(2, 200, True))])
    saved = saved_arrays(state)
    assert len(saved["entity.card.key"]) == 4
    assert len(saved["entity.merchant.key"]) == 1
    assert len(snapshot(EVERYTHING, state)) < state.nbytes()
