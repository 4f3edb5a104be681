"""Key hashes are XXH64 on every platform, with the JIT and without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.codec.hashing import hash_columns, hash_text, xxh64_kernel

GOLDEN = Path(__file__).parents[2] / "golden" / "key_hashes.json"


@pytest.mark.parametrize(
    ("data", "seed", "expected"),
    [
        (b"", 0, 0xEF46DB3751D8E999),
        (b"a", 0, 0xD24EC4F1A98C6E5B),
        (b"abc", 0, 0x44BC2CF5AD770999),
        (b"Nobody inspects the spammish repetition", 0, 0xFBCEA83C8A378BF1),
        (b"xxhash", 20141025, 0xB559B98D844E0635),
    ],
)
def test_kernel_gives_the_published_values_of_xxh64(data: bytes, seed: int, expected: int) -> None:
    with np.errstate(over="ignore"):  # wrapping is meant; numpy warns of it when the JIT is off
        digest = xxh64_kernel(np.frombuffer(data, np.uint8), np.uint64(0), np.uint64(len(data)), np.uint64(seed))
    assert int(digest) == expected


def test_golden_hashes_hold_for_ever() -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert {text: f"{hash_text(text):016x}" for text in golden} == golden


def test_without_the_jit_hashes_are_the_same() -> None:
    code = (
        "import json, pathlib, sys; from detector.codec.hashing import hash_columns;"
        "golden = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding='utf-8'));"
        "found = hash_columns([list(golden)])[0].tolist();"
        "sys.exit([f'{h:016x}' for h in found] != list(golden.values()))"
    )
    env = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-W", "error", "-c", code, str(GOLDEN)], env=env, check=True)


def test_nothing_hashes_to_zero_and_something_never_does() -> None:
    assert hash_columns([["", "x", ""]])[0, [0, 2]].tolist() == [0, 0]
    assert hash_text("x") > 0


@given(st.lists(st.lists(st.text(max_size=40), min_size=3, max_size=3), min_size=1, max_size=4))
def test_a_text_hashes_alike_wherever_it_stands(columns: list[list[str]]) -> None:
    found = hash_columns(columns)
    assert found.shape == (len(columns), 3)
    assert found.tolist() == [[hash_text(text) for text in column] for column in columns]


@given(st.text(max_size=40))
def test_the_separator_within_a_text_is_no_separator(text: str) -> None:
    assert hash_columns([[text, "\x1f" + text], ["\x1f", ""]]).tolist() == [
        [hash_text(text), hash_text("\x1f" + text)],
        [hash_text("\x1f"), 0],
    ]


def test_many_keys_do_not_meet() -> None:
    hashes = hash_columns([[f"card-{number:08d}" for number in range(200_000)]])[0]
    assert len(np.unique(hashes)) == 200_000
    assert abs(np.mean(hashes >> np.uint64(63)) - 0.5) < 0.01
