"""How kernels are compiled: to the disk cache, and run without the interpreter's lock.

Numba counts references to arrays, by an atomic addition each time that one is handed on, which costs a row of five
entities as much as its arithmetic does. A kernel that allocates nothing needs no counts, since its caller holds what it
was given: `kernel` and `inlined` do without them, `inlined` inside its callers besides (a call hands on seven words an
array). What allocates is an `allocating` one, and is called by its like only. The compiler refuses what breaks this.
"""

from __future__ import annotations

from typing import Any

from numba import njit
from numba.core.options import DefaultOptions

# not public: a numba without it counts, and computes the same
UNCOUNTED: dict[str, Any] = {"_nrt": False} if hasattr(DefaultOptions, "_nrt") else {}

allocating = njit(cache=True, nogil=True)
kernel = njit(cache=True, nogil=True, **UNCOUNTED)
inlined = njit(cache=True, nogil=True, forceinline=True, **UNCOUNTED)
