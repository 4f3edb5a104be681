"""Memory that was freed goes back to the system: the C library keeps it, and a long run would pay for it to its end."""

from __future__ import annotations

import ctypes
import gc
import sys


def give_back() -> None:
    """Hand back what is free, where the C library can (glibc); elsewhere nothing happens."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
