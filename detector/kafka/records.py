"""Consumed messages → one micro-batch a partition, in log order, without Python work for each message."""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter

import numpy as np
from confluent_kafka import Message
from numpy.typing import NDArray

_second = itemgetter(1)


@dataclass(slots=True)
class Records:
    """n records of one partition.

    `offset` int64 (n,), strictly ascending; `record_time_ms` int64 (n,), the record's own timestamp, −1 where it has
    none. Keys and headers are read from `messages`, for the few records that need them.
    """

    partition: int
    messages: list[Message]
    payloads: list[bytes | None]
    offset: NDArray[np.int64]
    record_time_ms: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.messages)


def headers_of(message: Message) -> list[tuple[str, bytes | None]] | None:
    """Its headers in order, doubles included; a consumed message never has them in another form."""
    return message.headers()  # type: ignore[return-value]


def records_of(partition: int, messages: list[Message], first_offset: int) -> Records:
    """`messages` of one partition, those below `first_offset` left out: they are settled already.

    Raises ValueError when offsets do not ascend: the order of the log is what the state is a fold of.
    """
    offset = np.fromiter(map(Message.offset, messages), np.int64, len(messages))
    if offset[0] < first_offset:
        messages = messages[int(np.searchsorted(offset, first_offset)) :]
        offset = offset[len(offset) - len(messages) :]
    if (offset[1:] <= offset[:-1]).any():
        raise ValueError(f"expected ascending offsets in partition {partition}, found {offset.tolist()[:20]} ...")
    return Records(
        partition,
        messages,
        list(map(Message.value, messages)),
        offset,
        np.fromiter(map(_second, map(Message.timestamp, messages)), np.int64, len(messages)),
    )


def by_partition(messages: list[Message]) -> dict[int, list[Message]]:
    """Messages without errors, grouped, the order within each partition kept."""
    partitions = list(map(Message.partition, messages))
    first = partitions[0]
    if partitions.count(first) == len(partitions):
        return {first: messages}  # type: ignore[dict-item]
    groups: dict[int, list[Message]] = {}
    for partition, message in zip(partitions, messages, strict=True):
        groups.setdefault(partition, []).append(message)  # type: ignore[arg-type]
    return groups
