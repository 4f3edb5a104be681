"""Rows are placed as the producer places them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from detector.lab.partitions import Partitions, grouped
from producers.replay import replay_batches
from schemas.mapping import Mapping
from schemas.members import key_partition

FIELDS = {"card_id": "pay.card", "event_time": "at"}
MAPPING = Mapping.model_validate({"fields": FIELDS})
NASTY = [
    b'{"pay":{"card":"c1"}}',
    b'{"pay":{"card":77}}',
    b'{"pay":{"card":""}}',
    b'{"pay":{"card":true}}',
    b'{"pay":{"card":1.5}}',
    b'{"pay":{"card":null}}',
    b'{"pay":7}',
    b'{"pay":null}',
    b'{"pay":{"card":"c1"}} trailing',
    b'{"pay":{"card":"first"},"pay":{"card":"second"}}',
    b'{"other":{"card":"c1"}}',
    b'{"pay":{"card":"\xff"}}',
    b"not json",
    b"[]",
    b"null",
    b'{"a":' * 3000 + b"1" + b"}" * 3000,
    '{"pay":{"card":"日本"}}'.encode(),
    b'{"pay":{"card":123456789012345678901234567890}}',
]


def test_rows_go_where_the_producer_would_send_them(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"\n".join(NASTY))
    (batch,) = replay_batches(file, MAPPING, warn=pytest.fail)
    assert batch.keys[:6] == ["c1", "77", None, None, None, None]
    placed = Partitions(MAPPING, 1000)
    partition, _ = placed.place(batch.payloads)
    keyed = [row for row, key in enumerate(batch.keys) if key is not None]
    assert [partition[row] for row in keyed] == [key_partition(batch.keys[row] or "", 1000) for row in keyed]
    assert placed.unkeyed == len(NASTY) - len(keyed)


def test_each_partition_counts_its_own_offsets_over_batches() -> None:
    payloads = [json.dumps({"pay": {"card": f"c{index % 11}"}}).encode() for index in range(100)]
    whole, cut = Partitions(MAPPING, 3), Partitions(MAPPING, 3)
    partition, offset = whole.place(payloads)
    pieces = [cut.place(payloads[start:stop]) for start, stop in ((0, 1), (1, 40), (40, 40), (40, 100))]
    np.testing.assert_array_equal(np.concatenate([piece[0] for piece in pieces]), partition)
    np.testing.assert_array_equal(np.concatenate([piece[1] for piece in pieces]), offset)
    assert partition.tolist() == [key_partition(f"c{index % 11}", 3) for index in range(100)]
    for one in range(3):
        assert offset[partition == one].tolist() == list(range(int((partition == one).sum())))
    assert len(set(partition.tolist())) == 3


def test_one_partition_reads_no_keys() -> None:
    placed = Partitions(MAPPING, 1)
    partition, offset = placed.place(NASTY)
    assert set(partition.tolist()) == {0}
    assert offset.tolist() == list(range(len(NASTY)))
    assert placed.unkeyed == 0


def test_rows_without_key_go_round_and_are_counted() -> None:
    placed = Partitions(Mapping.model_validate({"fields": {"event_time": "at"}}), 3)
    assert placed.place([b"{}"] * 4)[0].tolist() == [0, 1, 2, 0]
    assert placed.place([b"{}"] * 2)[0].tolist() == [1, 2]
    assert placed.unkeyed == 6


def test_groups_keep_the_order() -> None:
    groups = dict(grouped(np.array([2, 0, 2, 1, 0])))
    assert {one: rows.tolist() for one, rows in groups.items()} == {0: [1, 4], 1: [3], 2: [0, 2]}
    assert list(grouped(np.array([], np.int64))) == []
