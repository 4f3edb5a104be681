"""Simulated transactions as plain columns, one array a column, row *i* of each the same transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from producers.world import FloatArray, IntArray

NONE = -1
SCENARIOS = (
    "genuine",
    "large_amount",
    "compromised_terminal",
    "compromised_customer",
    "card_testing",
    "account_takeover",
    "impossible_travel",
)


@dataclass(slots=True)
class Rows:
    """Columns of shape (n,): `time_ms` int64, milliseconds since the simulation's start; `customer`, `card`,
    `merchant` indices into the world; `terminal` likewise, NONE where the payment was online; `amount` in units of
    currency; `ip`, `device` codes that `encoding` writes out, NONE at a terminal; `scenario` indexes SCENARIOS.
    """

    time_ms: IntArray
    customer: IntArray
    card: IntArray
    merchant: IntArray
    terminal: IntArray
    amount: FloatArray
    ip: IntArray
    device: IntArray
    scenario: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.time_ms)

    def take(self, index: IntArray | NDArray[np.bool_] | slice) -> Rows:
        """The rows at an index, mask or slice."""
        return Rows(*(getattr(self, field.name)[index] for field in fields(self)))


def concatenate(parts: Sequence[Rows]) -> Rows:
    """Rows one after another."""
    return Rows(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Rows)))


def empty() -> Rows:
    """No rows."""
    return Rows(*(np.zeros(0, np.int8 if f.name == "scenario" else float if f.name == "amount" else np.int64)
                  for f in fields(Rows)))  # fmt: skip
