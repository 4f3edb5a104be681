"""A few members of JSON objects read by path, the rest passed over; and the record key of a transaction.

Law: a record's key is a function of its payload and the mapping, so whoever publishes a row and whoever replays it
offline put it in the same partition.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any
from zlib import crc32

import msgspec

from schemas.mapping import Role, split_path

KEY_ROLES: tuple[Role, ...] = ("card_id", "customer_id")
"""Of these, the first that a mapping has is the record key."""

_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Members:
    """Reads columns out of payloads. `paths`: name → path as in a mapping."""

    def __init__(self, paths: dict[str, str]) -> None:
        split = {name: split_path(path) for name, path in paths.items()}
        tops = list(dict.fromkeys(path[0] for path in split.values()))
        attributes = {top: f"member_{index}" for index, top in enumerate(tops)}
        row = msgspec.defstruct(
            "Row",
            [(attribute, Any, None) for attribute in attributes.values()],
            rename={attribute: top for top, attribute in attributes.items()},
        )
        self._decode = msgspec.json.Decoder(row).decode
        self._nothing = row()
        self._paths = {name: (attrgetter(attributes[path[0]]), path[1:]) for name, path in split.items()}

    def columns(self, payloads: Sequence[bytes]) -> dict[str, list[Any]]:
        """Name → value of each payload, None where absent or where the payload is not a JSON object."""
        try:
            rows = list(map(self._decode, payloads))
        except _UNREADABLE:
            rows = [self._row(payload) for payload in payloads]
        columns = {}
        for name, (top, rest) in self._paths.items():
            values = list(map(top, rows))
            for part in rest:
                values = [value.get(part) if isinstance(value, dict) else None for value in values]
            columns[name] = values
        return columns

    def _row(self, payload: bytes) -> Any:
        try:
            return self._decode(payload)
        except _UNREADABLE:
            return self._nothing


def as_key(value: Any) -> str | None:
    """An id as text; None where it is none."""
    if isinstance(value, str):
        return value or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def as_truth(value: Any) -> bool | None:
    """1, true and their text → True; 0, false and theirs → False; anything else is unknown."""
    text = str(value).strip().lower()
    if text in ("1", "1.0", "true"):
        return True
    return False if text in ("0", "0.0", "false") else None


def key_partition(key: str, partitions: int) -> int:
    """Where a keyed record goes: librdkafka's partitioner `consistent_random`, the CRC32 of the key's bytes."""
    return crc32(key.encode()) % partitions
