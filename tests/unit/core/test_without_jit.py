"""Kernels are Python too: the laws hold without the JIT, where overflows and wrong indices raise instead of passing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TESTS = (
    *(f"tests/property/test_law_{law}.py" for law in ("cut_invariance", "prequential", "round_trip")),
    *(f"tests/property/test_law_{law}.py" for law in ("restore_replay", "mass_adds")),
    "tests/property/test_laws_with_labels.py",
    "tests/unit/core/test_labels.py",
    "tests/parity",
    *(
        f"tests/unit/core/test_{name}.py"
        for name in (
            *("entities", "explain", "drift", "features", "fusion", "gate", "golden", "members", "profile"),
            *("reservoir", "surprise"),
        )
    ),
    *(f"tests/unit/codec/test_{name}.py" for name in ("reasons", "snapshot")),
)


@pytest.mark.slow
def test_the_laws_hold_without_the_jit() -> None:
    """In a process of its own: numba reads the switch once."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *TESTS],
        cwd=ROOT,
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]
    assert " passed" in done.stdout
