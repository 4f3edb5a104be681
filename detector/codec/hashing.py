"""Keys → 64 bits: XXH64 of a key's UTF-8 bytes, 0 for none.

Law: equal text gives an equal hash on every platform, for ever; nothing but the text goes in. The hashes lie in
snapshots, so a change here voids saved state. Source: XXH64, https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md.
XXH64 resists chance, not malice: a sender who picks ids so as to collide can mix two entities' histories, no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.core.jit import inlined, kernel

SEED = 0x5354_5245_414D_4644  # "STREAMFD"
SEPARATOR = 0x1F
SEPARATOR_ALWAYS = 0xFF  # a byte that UTF-8 never holds

_P1 = np.uint64(0x9E3779B185EBCA87)
_P2 = np.uint64(0xC2B2AE3D27D4EB4F)
_P3 = np.uint64(0x165667B19E3779F9)
_P4 = np.uint64(0x85EBCA77C2B2AE63)
_P5 = np.uint64(0x27D4EB2F165667C5)


@inlined
def _rotate_kernel(x: Any, bits: Any) -> Any:
    return (x << np.uint64(bits)) | (x >> np.uint64(64 - bits))


@inlined
def _word_kernel(data: Any, at: Any) -> Any:
    """Eight bytes, little endian whatever the platform; compiles to one load."""
    word = np.uint64(0)
    for byte in range(8):
        word |= np.uint64(data[at + np.uint64(byte)]) << np.uint64(8 * byte)
    return word


@inlined
def _round_kernel(lane: Any, word: Any) -> Any:
    return _rotate_kernel(lane + word * _P2, 31) * _P1


@kernel
def xxh64_kernel(data: Any, start: Any, stop: Any, seed: Any) -> Any:
    """XXH64 of `data[start:stop]` (uint8); start, stop, seed uint64."""
    at = start
    if stop - start >= np.uint64(32):
        a, b, c, d = seed + _P1 + _P2, seed + _P2, seed, seed - _P1
        while stop - at >= np.uint64(32):
            a = _round_kernel(a, _word_kernel(data, at))
            b = _round_kernel(b, _word_kernel(data, at + np.uint64(8)))
            c = _round_kernel(c, _word_kernel(data, at + np.uint64(16)))
            d = _round_kernel(d, _word_kernel(data, at + np.uint64(24)))
            at += np.uint64(32)
        digest = _rotate_kernel(a, 1) + _rotate_kernel(b, 7) + _rotate_kernel(c, 12) + _rotate_kernel(d, 18)
        for lane in (a, b, c, d):
            digest = (digest ^ _round_kernel(np.uint64(0), lane)) * _P1 + _P4
    else:
        digest = seed + _P5
    digest += stop - start
    while stop - at >= np.uint64(8):
        digest ^= _round_kernel(np.uint64(0), _word_kernel(data, at))
        digest = _rotate_kernel(digest, 27) * _P1 + _P4
        at += np.uint64(8)
    if stop - at >= np.uint64(4):
        word = np.uint64(0)
        for byte in range(4):
            word |= np.uint64(data[at + np.uint64(byte)]) << np.uint64(8 * byte)
        digest ^= word * _P1
        digest = _rotate_kernel(digest, 23) * _P2 + _P3
        at += np.uint64(4)
    while at < stop:
        digest ^= np.uint64(data[at]) * _P5
        digest = _rotate_kernel(digest, 11) * _P1
        at += np.uint64(1)
    digest ^= digest >> np.uint64(33)
    digest *= _P2
    digest ^= digest >> np.uint64(29)
    digest *= _P3
    return digest ^ (digest >> np.uint64(32))


@kernel
def hash_keys_kernel(data: Any, separator: Any, seed: Any, out: Any) -> Any:
    """Hashes the texts in `data` (uint8), each ended by `separator` (uint8), into `out` (uint64, flat); empty → 0."""
    start = np.uint64(0)
    row = 0
    for stop in range(len(data)):
        if data[stop] == separator:
            end = np.uint64(stop)
            digest = np.uint64(0)
            if end > start:
                digest = xxh64_kernel(data, start, end, seed)
                if digest == np.uint64(0):
                    digest = np.uint64(1)
            out[row] = digest
            row += 1
            start = end + np.uint64(1)
    return row


def hash_columns(columns: Sequence[Sequence[str]]) -> NDArray[np.uint64]:
    """Hashes of every text, uint64 (len(columns), rows); "" → 0. All columns in one pass over one buffer."""
    rows = len(columns[0])
    count = len(columns) * rows
    out = np.empty(count, np.uint64)
    mark = chr(SEPARATOR)
    text = mark.join(map(mark.join, columns)) + mark
    if text.count(mark) == count:
        separator, data = SEPARATOR, text.encode()
    else:  # a text holds the separator: take a byte that no text can hold
        separator = SEPARATOR_ALWAYS
        data = "\udcff".join(chain(chain.from_iterable(columns), ("",))).encode("utf-8", "surrogateescape")
    with np.errstate(over="ignore"):  # wrapping is meant; numpy warns of it when the JIT is off
        found = hash_keys_kernel(np.frombuffer(data, np.uint8), np.uint8(separator), np.uint64(SEED), out)
    assert found == count, f"{found} texts found in the buffer, {count} put in"
    return out.reshape(len(columns), rows)


def hash_text(text: str) -> int:
    """Hash of one key, 1 to 2^64 − 1; "" → 0."""
    return int(hash_columns([[text]])[0, 0])
