"""Messages → micro-batches."""

from __future__ import annotations

import pytest
from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

from detector.kafka.records import by_partition, records_of


def message(partition: int, offset: int) -> Message:
    return Message(topic="t", partition=partition, offset=offset, value=b"%d" % offset, timestamp=(1, 1_000 + offset))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=50))
def test_grouping_keeps_the_order_of_each_partition(partitions: list[int]) -> None:
    messages = [message(partition, offset) for offset, partition in enumerate(partitions)]
    groups = by_partition(messages)
    assert {key: [m.offset() for m in group] for key, group in groups.items()} == {
        partition: [offset for offset, other in enumerate(partitions) if other == partition]
        for partition in set(partitions)
    }


@given(st.sets(st.integers(0, 40), min_size=1), st.integers(0, 45))
def test_what_is_settled_already_is_left_out(offsets: set[int], first: int) -> None:
    records = records_of(2, [message(2, offset) for offset in sorted(offsets)], first)
    left = [offset for offset in sorted(offsets) if offset >= first]
    assert records.offset.tolist() == left
    assert records.record_time_ms.tolist() == [1_000 + offset for offset in left]
    assert records.payloads == [b"%d" % offset for offset in left]
    assert len(records) == len(left)


@pytest.mark.parametrize("offsets", [[5, 5], [5, 4], [5, 7, 6]])
def test_another_order_than_the_logs_is_refused(offsets: list[int]) -> None:
    with pytest.raises(ValueError, match="ascending"):
        records_of(0, [message(0, offset) for offset in offsets], 0)
