"""The run without the JIT takes minutes of one core: it begins beside all other tests, and is waited for at its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

ROOT = Path(__file__).parents[3]
TEST = "test_the_laws_hold_without_the_jit"
POLITE = 10  # of niceness: the others are timed by brokers, this one is not
TESTS = (
    *(f"tests/property/test_law_{law}.py" for law in ("cut_invariance", "prequential", "round_trip")),
    *(f"tests/property/test_law_{law}.py" for law in ("restore_replay", "mass_adds")),
    "tests/property/test_laws_with_labels.py",
    "tests/unit/core/test_labels.py",
    *(
        f"tests/unit/core/test_boosted.py::test_{name}"  # its cuts take longer than all of these
        for name in (
            "trees_take_over_at_their_row_and_not_before",
            "the_version_is_a_hash_of_the_trees",
            "credits_add_up_to_what_both_heads_say_less_what_is_usual",
            "xgboost_trees_score_as_xgboost_does",
        )
    ),
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

_RUN = pytest.StashKey[tuple[subprocess.Popen[bytes], IO[bytes]]]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin where the test that waits for it is among those to run."""
    if session.config.option.collectonly or not any(item.name == TEST for item in session.items):
        return
    output = tempfile.TemporaryFile()  # noqa: SIM115 -- closed with the session
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *TESTS],
        cwd=ROOT,
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        stdout=output,
        stderr=subprocess.STDOUT,
        preexec_fn=lambda: os.nice(POLITE) and None,
    )
    session.config.stash[_RUN] = process, output


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leave nothing behind."""
    if found := session.config.stash.get(_RUN, None):
        process, output = found
        process.kill()
        process.wait()
        output.close()


@pytest.fixture
def without_jit(pytestconfig: pytest.Config) -> Callable[[float], tuple[int, str]]:
    """Waits so many seconds at most for that run; its exit code and what it printed."""
    process, output = pytestconfig.stash[_RUN]

    def wait(timeout_s: float) -> tuple[int, str]:
        code = process.wait(timeout_s)
        output.seek(0)
        return code, output.read().decode()

    return wait
