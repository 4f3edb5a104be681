"""Which rows a model learns and which it is asked about.

Law (no look ahead): by time, a row is learned only where its label is known when the tested period begins, event time +
delay ≤ its first row's event time; every row is tested once at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from detector.lab.errors import InputStopped
from schemas.times import rfc3339_text

Integers = NDArray[np.int64]
TRAIN_SHARE = 0.5  # of the rows before the first tested period


class Rows(Protocol):
    """What a split needs to know of n rows: a matrix has it."""

    @property
    def label(self) -> NDArray[np.int8]:
        """(n,) 1 fraud, 0 genuine, -1 unknown."""
        ...

    @property
    def event_time_ms(self) -> Integers:
        """(n,)."""
        ...

    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Fold:
    """`train` and `test`: int64, rows of the matrix, ascending."""

    name: str
    train: Integers
    test: Integers


def by_time(rows: Rows, folds: int, label_delay_ms: int, train_share: float = TRAIN_SHARE) -> list[Fold]:
    """The rows after the first `train_share`, in `folds` periods of as many rows; each learns all before it.

    Raises InputStopped where a period, or what there is to learn before it, is empty.
    """
    return by_time_of(rows.event_time_ms, folds, label_delay_ms, train_share)


def by_time_of(
    event_time_ms: Integers, folds: int, label_delay_ms: int, train_share: float = TRAIN_SHARE
) -> list[Fold]:
    """The same of rows whose event times (n,) are given, in any order."""
    order = np.argsort(event_time_ms, kind="stable")
    ordered_ms = event_time_ms[order]
    wanted = np.linspace(train_share * len(order), len(order), folds + 1).round().astype(np.int64)
    # Rows of one moment are on one side of a cut.
    cuts = [int(np.searchsorted(ordered_ms, ordered_ms[cut])) if cut < len(order) else len(order) for cut in wanted]
    found = []
    for start, stop in pairwise(cuts):
        if start == stop:
            raise InputStopped(
                f"expected {folds} periods with rows in each after the first {train_share:.0%} of them, found "
                f"{len(np.unique(event_time_ms)):,} different times among {len(order):,} rows; "
                "such a table is for lab evaluate --folds-stratified"
            )
        begin_ms = int(ordered_ms[start])
        known = int(np.searchsorted(ordered_ms, begin_ms - label_delay_ms, "right"))
        train = order[: min(known, start)]
        if not len(train):
            raise InputStopped(
                f"expected rows whose labels are known at {rfc3339_text(begin_ms)}, when the first tested period "
                f"begins; found none older than the label delay, {label_delay_ms / 3_600_000:,.1f} h: shorten "
                "--label-delay, or split the table into fewer periods"
            )
        name = f"{rfc3339_text(begin_ms)[:16]} to {rfc3339_text(int(ordered_ms[stop - 1]))[:16]}"
        found.append(Fold(name.replace("T", " "), np.sort(train), np.sort(order[start:stop])))
    return found


def stratified(rows: Rows, folds: int, seed: int = 0) -> list[Fold]:
    """Every row tested once; frauds, genuine and unknown rows are dealt out evenly, by the seed.

    Raises InputStopped where there are fewer frauds (or rows) than folds.
    """
    frauds, genuine = int((rows.label == 1).sum()), int((rows.label == 0).sum())
    for count, what in ((frauds, "frauds"), (genuine, "genuine rows")) if frauds or genuine else ((len(rows), "rows"),):
        if count < folds:
            raise InputStopped(f"expected at least {folds} {what}, one a fold, found {count}; use fewer --folds")
    random = np.random.default_rng(seed)
    dealt = np.empty(len(rows), np.int64)
    for label in np.unique(rows.label).tolist():
        same = np.flatnonzero(rows.label == label)
        dealt[random.permutation(same)] = np.arange(len(same)) % folds
    return [
        Fold(f"fold {one + 1} of {folds}", np.flatnonzero(dealt != one), np.flatnonzero(dealt == one))
        for one in range(folds)
    ]
