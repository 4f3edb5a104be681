"""Values of the text columns: how often each is met, and how often with a fraud."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from detector.lab.tables import as_text

if TYPE_CHECKING:
    import pyarrow as pa

VALUES_MAX = 50_000  # counted of a column; with more it is no category, and counting ends


@dataclass(slots=True)
class Words:
    """One column. `values`: value → (rows, frauds); None past VALUES_MAX. `shortest`, `longest` in characters."""

    count: int = 0
    shortest: int = 0
    longest: int = 0
    values: dict[str, list[int]] | None = field(default_factory=dict)

    def add(self, column: pa.ChunkedArray, truth: NDArray[np.int8] | None) -> None:
        """The next rows; `truth` as `Roles.truths`."""
        import pyarrow.compute as pc

        texts = as_text(column.combine_chunks())
        there = len(texts) - texts.null_count
        if not there:
            return
        extent = pc.min_max(pc.utf8_length(texts))
        shortest, longest = extent["min"].as_py(), extent["max"].as_py()
        self.shortest = min(self.shortest, shortest) if self.count else shortest
        self.longest = max(self.longest, longest)
        self.count += there
        if self.values is None:
            return
        self._tally(texts, 0)
        if truth is not None:
            self._tally(texts.filter(np.asarray(truth == 1)), 1)
        if len(self.values) > VALUES_MAX:
            self.values = None

    def _tally(self, texts: pa.Array, place: int) -> None:
        assert self.values is not None, "counting has not ended"
        for item in texts.drop_null().value_counts().to_pylist():
            self.values.setdefault(item["values"], [0, 0])[place] += item["counts"]

    def top(self, most: int) -> list[tuple[str, int, int]]:
        """(value, rows, frauds) of the most frequent values."""
        ranked = sorted((self.values or {}).items(), key=lambda item: (-item[1][0], item[0]))
        return [(value, rows, frauds) for value, (rows, frauds) in ranked[:most]]
