"""Checks on the bytes of whole batches, before any parsing: size, nesting, UTF-8.

Law: what is refused here is refused for both judges, msgspec and pydantic, which differ on these points: msgspec does
not look into strings that it passes over, and both bound nesting by the depth of their own stack.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core.jit import kernel
from schemas.base import DEPTH_MAX
from schemas.dead_letter import RejectReason


@kernel
def openers_kernel(data: Any, length: Any, out: Any) -> None:
    """Counts `{` and `[` in each payload; `data` uint8 holds them with one byte after each; `out` int64 (n,)."""
    start = 0
    for row in range(len(length)):
        count = np.uint32(0)
        # Summing 32-bit numbers over a slice compiles to vector instructions: 8 times faster than by index.
        for byte in data[start : start + length[row]]:
            count = np.uint32(count + np.uint32((byte | np.uint8(0x20)) == np.uint8(0x7B)))
        out[row] = count
        start += length[row] + 1


def suspects(payloads: Sequence[bytes], payload_bytes_max: int) -> NDArray[np.int64]:
    """Indices of the payloads that `fault` must look at; for all others it would find nothing.

    Costs about 0.1 µs for a payload of 300 bytes: one copy into one buffer, then a pass for UTF-8 and one for nesting.
    """
    length = np.fromiter(map(len, payloads), np.int64, len(payloads))
    flagged = length > payload_bytes_max
    if flagged.any():  # one payload may be far larger than the batch: judge the flagged alone, copy none of them
        small = np.flatnonzero(~flagged).tolist()
        inner = suspects([payloads[index] for index in small], payload_bytes_max).tolist() if small else []
        return np.array(sorted([*np.flatnonzero(flagged).tolist(), *(small[index] for index in inner)]), np.int64)
    joined = b"\n".join([*payloads, b""])
    openers = np.empty(len(payloads), np.int64)
    openers_kernel(np.frombuffer(joined, np.uint8), length, openers)
    flagged = openers > DEPTH_MAX
    if not joined.isascii():
        flagged |= _high_bytes(joined, length)
    return np.flatnonzero(flagged)


def _high_bytes(joined: bytes, length: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Payloads that may hold broken UTF-8: none where the buffer as a whole reads, else all that are not ASCII."""
    try:
        joined.decode("utf-8")
    except UnicodeDecodeError:
        starts = np.cumsum(length + 1) - (length + 1)
        return np.bitwise_or.reduceat(np.frombuffer(joined, np.uint8), starts) >= 0x80
    return np.zeros(len(length), np.bool_)


def fault(payload: bytes, payload_bytes_max: int) -> tuple[RejectReason, str] | None:
    """Why the bytes of one payload are refused, with a message; None where they pass."""
    if len(payload) > payload_bytes_max:
        return (
            RejectReason.TOO_LARGE,
            f"expected at most {payload_bytes_max} bytes (bounds.payload_bytes_max), found {len(payload)}",
        )
    if not payload.strip(b" \t\r\n"):
        return RejectReason.EMPTY, "expected a JSON object, found nothing; send null values to mark deletions"
    try:
        payload.decode("utf-8")
    except UnicodeDecodeError as error:
        return RejectReason.BAD_UTF8, f"expected UTF-8, found a broken sequence at byte {error.start}"
    if depth(payload) > DEPTH_MAX:
        return RejectReason.TOO_DEEP, f"expected nesting of at most {DEPTH_MAX} levels, found more"
    return None


def depth(payload: bytes) -> int:
    """Greatest nesting of objects and lists, strings left out. Reads well-formed JSON right, and anything at all."""
    level = deepest = 0
    inside = escaped = False
    for byte in payload:
        if inside:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                inside = False
        elif byte == 0x22:
            inside = True
        elif byte in b"{[":
            level += 1
            deepest = max(deepest, level)
        elif byte in b"}]":
            level -= 1
    return deepest
