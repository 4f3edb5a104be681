"""Simulated rows → JSON of the canonical transaction and of labels.

Law: the bytes depend on the rows, the start and the seed alone. Fields that a payment does not have are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from producers.genuine import ADDRESSES
from producers.rows import NONE, SCENARIOS, Rows
from producers.world import MCC, REGIONS, IntArray, World

DEVICE_MIX = 0x9E3779B97F4A7C15 & ((1 << 40) - 1) | 1  # odd: a bijection of 40 bits, so that codes do not show
DEVICE_MASK = (1 << 40) - 1


class TransactionRow(msgspec.Struct, omit_defaults=True):
    """`schemas.transaction.Transaction` as a struct that encodes fast; the field names are the same."""

    transaction_id: str
    event_time: int
    card_id: str
    customer_id: str
    merchant_id: str
    amount: float
    currency: str
    mcc: str
    channel: str
    country: str
    terminal_id: str | None = None
    lat: float | None = None
    lon: float | None = None
    ip: str | None = None
    device_id: str | None = None


class LabelRow(msgspec.Struct, omit_defaults=True):
    """`schemas.label.Label` likewise."""

    transaction_id: str
    event_time: int
    is_fraud: bool
    card_id: str | None = None
    scenario: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Encoded transactions in event-time order: `keys` (n,) text or None, `payloads` (n,) JSON, `event_time_ms` int64
    (n,) since the epoch, and the labels of some of them: `label_row` int64 (m,) rows of this batch, `label_keys`,
    `label_payloads` (m,); `fraud` bool (n,). A label is known at its row's event time plus the delay.
    """

    keys: list[str | None]
    payloads: list[bytes]
    event_time_ms: IntArray
    label_row: IntArray
    label_keys: list[str | None]
    label_payloads: list[bytes]
    fraud: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.payloads)


class Encoder:
    """Writes rows of one world. `key` names the role that becomes the record key, None for no key."""

    def __init__(self, world: World, start_ms: int, label_delay_ms: int, key: str | None = "card_id") -> None:
        self._start_ms = start_ms
        self._label_delay_ms = label_delay_ms
        self._key = key
        self._seed = world.options.seed
        self._cards = _names("card-%06d", world.card_count)
        self._customers = _names("customer-%06d", len(world.customer_region))
        self._merchants = _names("merchant-%05d", len(world.merchant_region))
        # The last entry of each table is what NONE finds.
        self._terminals = _table([*_names("terminal-%05d", len(world.terminal_region)).tolist(), None])
        self._latitude = _table([*world.terminal_latitude.tolist(), None])
        self._longitude = _table([*world.terminal_longitude.tolist(), None])
        self._mcc = np.array(MCC, object)[world.merchant_mcc]
        self._country = np.array([region.country for region in REGIONS], object)[world.merchant_region]
        self._currency = np.array([region.currency for region in REGIONS], object)[world.customer_region]
        self._encode = msgspec.json.Encoder().encode

    def encode(self, rows: Rows, first_number: int, labelled: NDArray[np.bool_]) -> Batch:
        """Rows as payloads; ids count on from `first_number`; `labelled` (n,) says which rows get a label."""
        n = len(rows)
        # The letter keeps seed and number apart: as one run of digits they may pass for a card number, and be masked.
        ids = [f"tx-{self._seed}-n{number:09d}" for number in range(first_number, first_number + n)]
        cards: list[str] = self._cards[rows.card].tolist()
        customers: list[str] = self._customers[rows.customer].tolist()
        event_time_ms = rows.time_ms + self._start_ms
        columns = (
            ids,
            event_time_ms.tolist(),
            cards,
            customers,
            self._merchants[rows.merchant].tolist(),
            rows.amount.tolist(),
            self._currency[rows.customer].tolist(),
            self._mcc[rows.merchant].tolist(),
            np.where(rows.terminal == NONE, "online", "pos").tolist(),
            self._country[rows.merchant].tolist(),
            self._terminals[rows.terminal].tolist(),
            self._latitude[rows.terminal].tolist(),
            self._longitude[rows.terminal].tolist(),
            _addresses(rows.ip),
            _devices(rows.device),
        )
        label_row = np.flatnonzero(labelled)
        keys: list[str | None] = [None] * n
        if self._key is not None:
            keys = list(customers if self._key == "customer_id" else cards)
        return Batch(
            keys=keys,
            payloads=list(map(self._encode, map(TransactionRow, *columns))),
            event_time_ms=event_time_ms,
            label_row=label_row,
            label_keys=[cards[row] for row in label_row.tolist()],
            label_payloads=[
                self._label(ids[row], int(event_time_ms[row]), cards[row], int(rows.scenario[row]))
                for row in label_row.tolist()
            ],
            fraud=rows.scenario > 0,
        )

    def _label(self, transaction_id: str, event_time_ms: int, card: str, scenario: int) -> bytes:
        return self._encode(
            LabelRow(
                transaction_id,
                event_time_ms + self._label_delay_ms,
                scenario > 0,
                card,
                SCENARIOS[scenario] if scenario else None,
            )
        )


def _names(pattern: str, count: int) -> NDArray[np.object_]:
    return _table([pattern % index for index in range(count)])


def _table(values: list[Any]) -> NDArray[np.object_]:
    return np.array(values, object)


def _addresses(code: IntArray) -> list[str | None]:
    """Addresses of 10.0.0.0/8, which belong to nobody: the second byte is the region."""
    return [
        None if value < 0 else f"10.{value // ADDRESSES + 1}.{value % ADDRESSES >> 8}.{value & 255}"
        for value in code.tolist()
    ]


def _devices(code: IntArray) -> list[str | None]:
    return [None if value < 0 else f"device-{value * DEVICE_MIX & DEVICE_MASK:010x}" for value in code.tolist()]
