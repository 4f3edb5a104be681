"""Kernels are Python too: the laws hold without the JIT, where overflows and wrong indices raise instead of passing."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.mark.slow
@pytest.mark.timeout(920)
def test_the_laws_hold_without_the_jit(without_jit: Callable[[float], tuple[int, str]]) -> None:
    """In a process of its own: numba reads the switch once."""
    code, printed = without_jit(900)
    assert code == 0, printed[-6_000:]
    assert " passed" in printed
