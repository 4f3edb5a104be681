"""Members of JSON objects by path; keys and truth from their values."""

from __future__ import annotations

import msgspec
import pytest

from schemas.members import Members, as_key, as_truth, key_partition

BROKEN = (b"", b"[]", b"\xff", b'{"x":' * 5_000, b'{"x.y":"\xff"}', b'{"x":1} more', b"null")


def test_paths_with_dots_and_deep_ones() -> None:
    members = Members({"a": r"x\.y", "b": "x.y.z", "c": "x"})
    payload = msgspec.json.encode({"x.y": 1, "x": {"y": {"z": [2]}}, "more": "skipped"})
    whole = {"a": 1, "b": [2], "c": {"y": {"z": [2]}}}
    assert members.columns([payload]) == {name: [value] for name, value in whole.items()}
    assert members.columns([]) == {"a": [], "b": [], "c": []}


@pytest.mark.parametrize("broken", BROKEN)
def test_what_cannot_be_read_has_no_members_and_spoils_no_other(broken: bytes) -> None:
    members = Members({"a": r"x\.y", "c": "x"})
    good = b'{"x.y":1,"x":2}'
    assert members.columns([good, broken, good]) == {"a": [1, None, 1], "c": [2, None, 2]}


def test_a_path_through_no_object_is_absent() -> None:
    assert Members({"card": "pay.card"}).columns([b'{"pay":7}', b'{"pay":null}', b"{}"]) == {"card": [None] * 3}


def test_keys_and_truth_from_json_values() -> None:
    assert [as_key(value) for value in ("a", "", 7, True, 1.5, None, [])] == ["a", None, "7", None, None, None, None]
    assert [as_truth(value) for value in (1, 1.0, "1", True, "True")] == [True] * 5
    assert [as_truth(value) for value in (0, 0.0, "0", False, "false")] == [False] * 5
    assert [as_truth(value) for value in (None, "", 2, "fraud", [])] == [None] * 5


def test_partition_is_the_crc32_of_the_key() -> None:
    # The check value of CRC-32/ISO-HDLC is that of "123456789".
    assert key_partition("123456789", 1 << 32) == 0xCBF43926
    assert key_partition("123456789", 7) == 0xCBF43926 % 7
