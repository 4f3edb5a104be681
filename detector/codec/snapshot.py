"""A task's state ⇄ versioned bytes (law: round trip).

Layout: `SFDS`, a version byte, the length of the header (uint32, little-endian), a JSON header that names each array
with dtype and shape and carries the state fingerprint and a SHA-256 of all of this and of the body, then the arrays'
bytes, C order, in that order. No pickle. A version is never reused; old ones are kept as golden files.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

import msgspec
import numpy as np

from detector.core.spec import Spec
from detector.core.state import TaskState, from_saved, saved_arrays

MAGIC = b"SFDS"
VERSION = 1
_HEAD = struct.Struct("<4sBI")


class SnapshotError(ValueError):
    """Bytes that are no snapshot of this spec; the message says what was expected, what was found, what to do."""


class ArrayHeader(msgspec.Struct, frozen=True):
    """One array of the body."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class Header(msgspec.Struct, frozen=True):
    """What the body holds."""

    state_fingerprint: str
    spec_fingerprint: str
    arrays: tuple[ArrayHeader, ...]
    sha256: str = ""


def snapshot(spec: Spec, state: TaskState) -> bytes:
    """The state as bytes: equal states of equal history give equal bytes."""
    saved = saved_arrays(state)
    body = [np.ascontiguousarray(array).reshape(-1).view(np.uint8).data for array in saved.values() if array.size]
    header = Header(
        state_fingerprint=spec.state_fingerprint(),
        spec_fingerprint=spec.fingerprint(),
        arrays=tuple(ArrayHeader(name, array.dtype.str, array.shape) for name, array in saved.items()),
    )
    encoded = msgspec.json.encode(msgspec.structs.replace(header, sha256=_digest(header, body)))
    return b"".join([_HEAD.pack(MAGIC, VERSION, len(encoded)), encoded, *body])


def _digest(header: Header, body: Sequence[bytes | memoryview]) -> str:
    digest = hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(header, sha256="")))
    for part in body:
        digest.update(part)
    return digest.hexdigest()


def restore(spec: Spec, data: bytes) -> TaskState:
    """The state that `snapshot` was given. Raises SnapshotError for other bytes, another version or another spec."""
    if len(data) < _HEAD.size:
        raise SnapshotError(f"snapshot: expected at least {_HEAD.size} bytes, found {len(data)}; restore an older one")
    magic, version, length = _HEAD.unpack_from(data)
    if magic != MAGIC or version != VERSION:
        raise SnapshotError(
            f"snapshot: expected {MAGIC!r} version {VERSION}, found {magic!r} version {version}; "
            "rebuild the state from the log, or run the release that wrote it"
        )
    try:
        header = msgspec.json.decode(data[_HEAD.size : _HEAD.size + length], type=Header)
    except msgspec.DecodeError as error:
        raise SnapshotError(f"snapshot: its header is damaged ({error}); rebuild the state from the log") from error
    if header.state_fingerprint != spec.state_fingerprint():
        raise SnapshotError(
            f"snapshot: expected state fingerprint {spec.state_fingerprint()}, found {header.state_fingerprint}: "
            "features, entities or models were changed; rebuild the state from the log, or undo the change"
        )
    body = memoryview(data)[_HEAD.size + length :]
    if _digest(header, [body]) != header.sha256:
        raise SnapshotError("snapshot: its SHA-256 does not fit its bytes; rebuild the state from the log")
    saved = {}
    start = 0
    for item in header.arrays:
        dtype = np.dtype(item.dtype)
        count = int(np.prod(item.shape, dtype=np.int64))
        saved[item.name] = np.frombuffer(body, dtype, count, start).reshape(item.shape)
        start += count * dtype.itemsize
    try:
        return from_saved(spec, saved)
    except (KeyError, ValueError) as error:
        raise SnapshotError(f"snapshot: {error}; rebuild the state from the log") from error
