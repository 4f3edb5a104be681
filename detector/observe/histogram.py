"""A Prometheus histogram that takes a whole batch in one numpy pass.

Law: `observe_many(a)` then `observe_many(b)` shows what `observe` of each value would: counts are exact, and count and
sum never fall. `prometheus_client.Histogram.observe` costs about a microsecond a value, more than a decision; here a
value costs some tens of nanoseconds.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector


class BulkHistogram(Collector):
    """Cumulative histogram without labels over fixed buckets.

    `buckets` are upper bounds, inclusive, strictly ascending, in the metric's unit; +Inf is added. Safe to observe in
    one thread and to collect in another.
    """

    def __init__(self, name: str, documentation: str, buckets: Iterable[float]) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds: NDArray[np.float64] = np.asarray(tuple(buckets), dtype=np.float64)
        if not len(self._bounds) or not np.isfinite(self._bounds).all() or (np.diff(self._bounds) <= 0).any():
            raise ValueError(f"{name}: expected finite, strictly ascending buckets, found {self._bounds.tolist()}")
        self._labels = [repr(bound) for bound in self._bounds.tolist()] + ["+Inf"]
        self._counts: NDArray[np.int64] = np.zeros(len(self._bounds) + 1, dtype=np.int64)
        self._sum = 0.0
        self._lock = threading.Lock()

    def observe(self, value: float) -> None:
        """One value."""
        self.observe_many(np.array((value,), dtype=np.float64))

    def observe_many(self, values: ArrayLike) -> None:
        """All of `values`, float64 (n,), n ≥ 0.

        Negative ones, as clocks that disagree give, count as 0: a falling sum would read as a restart. NaN and infinite
        ones are left out.
        """
        column = np.asarray(values, dtype=np.float64)
        if not column.size:
            return
        total = float(column.sum())
        if not np.isfinite(total):
            column = column[np.isfinite(column)]
            if not column.size:
                return
            total = float(column.sum())
        if column.min() < 0.0:
            column = np.maximum(column, 0.0)
            total = float(column.sum())
        counts = np.bincount(
            np.searchsorted(self._bounds, column, side="left"),
            minlength=len(self._counts),
        )
        with self._lock:
            self._counts += counts
            self._sum += total

    def count(self) -> int:
        """Values observed so far."""
        with self._lock:
            return int(self._counts.sum())

    def quantile(self, share: float) -> float:
        """Value below which `share` (0–1) of the observations lie, as Prometheus' `histogram_quantile` has it.

        Linear within a bucket; the highest bound where it falls beyond; NaN without observations.
        """
        with self._lock:
            cumulative = np.cumsum(self._counts)
        if cumulative[-1] == 0:
            return float("nan")
        rank = share * cumulative[-1]
        index = int(np.searchsorted(cumulative, rank, side="left"))
        if index >= len(self._bounds):
            return float(self._bounds[-1])
        lower = float(self._bounds[index - 1]) if index else 0.0
        below = int(cumulative[index - 1]) if index else 0
        inside = int(cumulative[index]) - below
        return lower + (float(self._bounds[index]) - lower) * ((rank - below) / inside if inside else 0.0)

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """The family as of now; called by the registry at each scrape."""
        with self._lock:
            cumulative = np.cumsum(self._counts).tolist()
            total = self._sum
        buckets = list(zip(self._labels, cumulative, strict=True))
        yield HistogramMetricFamily(self._name, self._documentation, buckets=buckets, sum_value=total)
