"""Volume and amount over event time, by hour and weekday, and how far the file is from being in order of time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MINUTE_MS = 60_000
WIDTHS_MS = (MINUTE_MS, 10 * MINUTE_MS, 60 * MINUTE_MS, 6 * 60 * MINUTE_MS, 1440 * MINUTE_MS, 7 * 1440 * MINUTE_MS)
BINS_MAX = 20_000  # held; with more they are made wider
BINS_SHOWN_MAX = 400
EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday; Monday is 0
DAY_MS = 86_400_000
Ints = NDArray[np.int64]


class Clock:
    """`bins`: start ms → (rows, amount, frauds). `week` (7, 24) rows by weekday and hour, UTC."""

    def __init__(self) -> None:
        self.first_ms, self.last_ms = 2**62, -(2**62)
        self.rows = self.backwards = 0
        self.behind_ms = 0
        self.week = np.zeros((7, 24), np.int64)
        self._width = 0
        self._bins: dict[int, NDArray[np.float64]] = {}
        self._highest = -(2**62)

    def add(self, time_ms: Ints, amount: NDArray[np.float64], fraud: NDArray[np.bool_]) -> None:
        """Rows that have a time, in file order; `amount` NaN where missing."""
        if not len(time_ms):
            return
        highest = np.maximum.accumulate(np.concatenate([[self._highest], time_ms]))
        behind = highest[:-1] - time_ms
        self.backwards += int((behind > 0).sum())
        self.behind_ms = max(self.behind_ms, int(behind.max()))
        self._highest = int(highest[-1])
        self.first_ms, self.last_ms = min(self.first_ms, int(time_ms.min())), max(self.last_ms, int(time_ms.max()))
        self.rows += len(time_ms)
        hours = time_ms // 3_600_000
        slot = (hours // 24 + EPOCH_WEEKDAY) % 7 * 24 + hours % 24
        self.week += np.bincount(slot, minlength=168).reshape(7, 24)
        self._fold(time_ms, np.nan_to_num(amount), fraud)

    def _fold(self, time_ms: Ints, amount: NDArray[np.float64], fraud: NDArray[np.bool_]) -> None:
        place, inverse = np.unique(time_ms // WIDTHS_MS[self._width], return_inverse=True)
        rows = np.bincount(inverse, minlength=len(place)).astype(float)
        sums = np.bincount(inverse, amount, len(place))
        frauds = np.bincount(inverse, fraud.astype(float), len(place))
        for key, values in zip(place.tolist(), np.stack([rows, sums, frauds], axis=1), strict=True):
            self._bins[key] = self._bins[key] + values if key in self._bins else values
        while len(self._bins) > BINS_MAX and self._width < len(WIDTHS_MS) - 1:
            self._bins = self._wider(self._width + 1)
            self._width += 1

    def _wider(self, width: int) -> dict[int, NDArray[np.float64]]:
        found: dict[int, NDArray[np.float64]] = {}
        for key, values in self._bins.items():
            wide = key * WIDTHS_MS[self._width] // WIDTHS_MS[width]
            found[wide] = found[wide] + values if wide in found else values
        return found

    def series(self) -> tuple[int, Ints, NDArray[np.float64]]:
        """(width ms, start ms of each bin, (bins, 3) rows, amount, frauds), no gaps, at most BINS_SHOWN_MAX bins."""
        width = self._width
        span = max(1, self.last_ms - self.first_ms)
        while span / WIDTHS_MS[width] > BINS_SHOWN_MAX and width < len(WIDTHS_MS) - 1:
            width += 1
        bins = self._bins if width == self._width else self._wider(width)
        start = np.arange(min(bins), max(bins) + 1, dtype=np.int64)
        values = np.array([bins.get(key, np.zeros(3)) for key in start.tolist()])
        return WIDTHS_MS[width], start * WIDTHS_MS[width], values
