"""The entity table against a dict: who is found, who had to make room, what is freed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from detector.core.entities import (
    CHUNK,
    CHUNKS,
    CROWDS,
    DETAIL,
    DETAILS,
    ENTRIES_MAX,
    EVICTED,
    EXPIRED,
    FREE_CHUNK,
    FREE_COUNT,
    GROW_CHUNKS,
    GROW_CROWDS,
    GROW_DETAILS,
    GROW_INDEX,
    GROW_SLOTS,
    HEAD,
    LOAD_MAX,
    OLDER,
    PARTS,
    ROWS,
    SLOTS,
    UNPRICED,
    EntityTable,
    claim_slot_kernel,
    find_slot_kernel,
    forget_key_kernel,
    grown,
    index_kernel,
    index_size,
    length_kernel,
    new_table,
    older_kernel,
    reindexed,
)
from detector.core.operator import step
from detector.core.spec import parse_feature
from detector.core.state import new_state
from detector.core.windows import scratch_entries
from detector.settings.sections import WINDOWS_MAX
from tests.streams import EVERYTHING, codes, examples, stream

# keys that meet in the index: same low bits, neighbours, both ends of the range
KEYS = [np.uint64(key) for key in (1, 2, 3, 511, 512, 513, 1023, 1024, 1025, 2**64 - 1, 2**64 - 512, 2**63, 2**63 + 1)]


def found(table: EntityTable, key: np.uint64) -> int:
    return int(find_slot_kernel(table.cells, table.key, key))


class Table(RuleBasedStateMachine):
    """A small table in which keys are seen; the dict knows when each was seen last."""

    @initialize(slots_max=st.integers(1, 8))
    def start(self, slots_max: int) -> None:
        self.table = new_table(recent_width=0, distinct=0, places=False, detailed=False)
        self.slots_max = slots_max
        self.seen: dict[int, int] = {}
        self.now_ms = 1_000
        self.evicted = self.expired = 0

    @rule(key=st.sampled_from(KEYS), later_ms=st.sampled_from([0, 1, 500, 40_000]))
    def see(self, key: np.uint64, later_ms: int) -> None:
        self.now_ms += later_ms
        slot = found(self.table, key)
        assert (slot >= 0) == (int(key) in self.seen)
        if slot < 0:
            slot = self.claim(key)
        self.table.last_ms[slot] = self.now_ms
        self.seen[int(key)] = self.now_ms

    def claim(self, key: np.uint64) -> int:
        table, expire_before_ms = self.table, self.now_ms - 30_000
        before = {other: found(table, np.uint64(other)) for other in self.seen}
        slot = int(
            claim_slot_kernel(
                *(table.counter, table.cells, table.key, table.last_ms, table.chain, table.whole),
                *(key, expire_before_ms, self.slots_max),
            )
        )
        gone = [other for other, place in before.items() if place == slot]
        if gone:
            last_ms = self.seen.pop(gone[0])
            if table.counter[EXPIRED] > self.expired:
                assert last_ms < expire_before_ms
            else:  # with at most eight slots all are candidates: the longest unseen makes room
                assert len(before) == self.slots_max
                assert last_ms == min([last_ms, *self.seen.values()])
        self.evicted, self.expired = int(table.counter[EVICTED]), int(table.counter[EXPIRED])
        return slot

    @rule()
    def restore(self) -> None:
        self.table = reindexed(self.table, index_size(int(self.table.counter[SLOTS])))

    @invariant()
    def all_are_found_and_nobody_else(self) -> None:
        if not hasattr(self, "table"):
            return
        for key in KEYS:
            slot = found(self.table, key)
            assert (slot >= 0) == (int(key) in self.seen)
            if slot >= 0:
                assert self.table.key[slot] == key
                assert self.table.last_ms[slot] == self.seen[int(key)]
        assert self.table.counter[SLOTS] == len(self.seen) <= self.slots_max
        assert np.count_nonzero(self.table.cells) == len(self.seen)


def test_a_table_agrees_with_a_dict() -> None:
    run_state_machine_as_test(Table, settings=examples(60, 20))


@examples(60, 20)
@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=350, unique=True), st.data())
def test_keys_taken_out_of_the_index_leave_the_others_findable(values: list[int], data: st.DataObject) -> None:
    key = np.array(values, np.uint64)
    if data.draw(st.booleans()):  # crowd them together
        key &= np.uint64(0xFF0000000000001F)
        key = np.unique(key)
    index = np.zeros(512, np.int32)
    index_kernel(index, key, len(key))
    order = np.random.RandomState(data.draw(st.integers(0, 99))).permutation(len(key))
    for gone, slot in enumerate(order):
        forget_key_kernel(index, key, slot)
        left = set(order[gone + 1 :].tolist())
        for other in order[max(0, gone - 5) : gone + 20].tolist():
            assert (find_slot_kernel(index, key, key[other]) == other) == (other in left)
    assert not index.any()


@examples(80, 15)
@given(codes())
def test_every_chunk_is_in_one_chain_or_free(rows: list[int]) -> None:
    state = new_state(EVERYTHING)
    step(EVERYTHING, state, stream(EVERYTHING, rows))
    for table in state.tables:
        chunks = set(range(int(table.counter[CHUNKS])))
        for slot in range(int(table.counter[SLOTS])):
            chain = walk(table, int(table.chain[slot, HEAD]))
            assert len(chain) == -(-int(length_kernel(table.chain, slot)) // CHUNK)
            assert set(chain) <= chunks
            chunks -= set(chain)
        free = walk(table, int(table.counter[FREE_CHUNK]))
        assert set(free) == chunks
        assert len(free) == table.counter[FREE_COUNT]
        if len(table.detail):
            each_has_a_detail_if_it_needs_one(table)


def each_has_a_detail_if_it_needs_one(table: EntityTable) -> None:
    used, taken = int(table.counter[CHUNKS]), int(table.counter[DETAILS])
    told = table.whole[:used, DETAIL]
    assert sorted(told[told > 0]) == list(range(1, taken + 1))
    rows = table.whole[:used, ROWS:OLDER:2]
    assert (told[((rows > 1) & (rows < UNPRICED)).any(axis=1)] > 0).all()


@pytest.mark.parametrize("step_s", [1, 47, 3_600, 86_400 * 2])
@pytest.mark.parametrize("lateness_s", [1, 3_600, 86_400 * 365])
def test_as_many_windows_as_a_configuration_may_have_fit_a_chain(step_s: int, lateness_s: int) -> None:
    windows = step_s * np.arange(1, WINDOWS_MAX + 1)
    assert scratch_entries(windows, lateness_s) <= ENTRIES_MAX


def test_more_windows_than_a_chain_has_entries_for_are_refused() -> None:
    count = replace(EVERYTHING, features=tuple(parse_feature(f"card.count.{hours}h") for hours in range(1, 600)))
    with pytest.raises(ValueError, match="features of card: 599 windows are too many"):
        new_state(count)


def walk(table: EntityTable, chunk: int) -> list[int]:
    chain = []
    while chunk >= 0:
        chain.append(chunk)
        assert len(chain) <= table.counter[CHUNKS]
        chunk = int(older_kernel(table.whole, chunk))
    return chain


def test_growth_keeps_what_is_there() -> None:
    table = new_table(recent_width=3, distinct=2, places=True, detailed=True)
    random = np.random.RandomState(0)
    for name in table._fields:
        array = getattr(table, name)
        if name not in ("counter", "cells"):
            array[...] = random.randint(0, 100, array.shape)
    table.key[:] = random.permutation(len(table.key)) + 1
    use_all(table)
    kept = {name: getattr(table, name).copy() for name in table._fields}
    for why in 2 * (GROW_SLOTS, GROW_CHUNKS, GROW_CROWDS, GROW_DETAILS) + (GROW_INDEX,):
        table = grown(table, why)
        use_all(table)
    for name, array in kept.items():
        if name not in ("counter", "cells"):
            grown_array = getattr(table, name)
            assert len(grown_array) >= 4 * len(array)
            np.testing.assert_array_equal(grown_array[: len(array)], array)
    assert len(table.cells) == 2 * len(kept["cells"])


def use_all(table: EntityTable) -> None:
    for used, names in PARTS.values():
        table.counter[used] = len(getattr(table, names[0]))


def test_an_index_is_never_crowded() -> None:
    for slots in (0, 1, 357, 358, 359, 5_000, 1_000_000):
        size = index_size(slots)
        assert size & (size - 1) == 0
        assert slots + 1 <= LOAD_MAX * size


def test_a_stream_of_strangers_stays_within_its_bound() -> None:
    """Every row a new card: memory is that of `slots_max` cards, and the newest ones are known."""
    rows = 3_000
    spec = replace(EVERYTHING, entities=(replace(EVERYTHING.entities[0], slots_max=100), *EVERYTHING.entities[1:]))
    batch = stream(spec, [0] * rows)
    batch.key[0] = np.arange(1, rows + 1).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state = new_state(spec)
    step(spec, state, batch)
    table = state.tables[0]
    assert table.counter[SLOTS] == 100
    assert table.counter[EVICTED] == rows - 100
    assert table.counter[CHUNKS] <= 101
    assert all(found(table, key) >= 0 for key in batch.key[0, -80:])


def test_a_slot_that_changes_hands_keeps_its_crowd_and_forgets_who_was_in_it() -> None:
    """Devices take turns in one slot: each is seen with three cards, then with one."""
    device = replace(EVERYTHING.entities[-1], slots_max=1)
    spec = replace(EVERYTHING, entities=(device,), features=(parse_feature("device.distinct.card.7d"),))
    batch = stream(spec, [0] * 8)
    batch.key[spec.keys.index("device")] = np.repeat(np.array([1, 2], np.uint64), 4)
    batch.key[spec.keys.index("card")] = np.array([1, 2, 3, 3, 3, 4, 4, 1]).astype(np.uint64) << np.uint64(48)
    state = new_state(spec)
    assert step(spec, state, batch).features[:, 0].tolist() == [1, 2, 3, 3, 1, 2, 2, 3]
    assert state.tables[0].counter[CROWDS] == 1


def test_devices_with_one_card_each_take_no_crowd() -> None:
    spec = replace(EVERYTHING, entities=(replace(EVERYTHING.entities[-1], slots_max=1_000),))
    batch = stream(spec, [0] * 1_000)
    for name in ("device", "card"):
        batch.key[spec.keys.index(name)] = (np.arange(1_000) % 500 + 1).astype(np.uint64) << np.uint64(48)
    state = new_state(replace(spec, features=(parse_feature("device.distinct.card.7d"),)))
    assert set(step(state.plan.spec, state, batch).features[:, 0]) == {1.0}
    assert state.tables[0].counter[CROWDS] == 0


def test_a_chunk_takes_a_detail_with_its_first_entry_of_several_rows() -> None:
    """Rows with amounts, an hour apart and then within a second of each other; rows without share an entry freely."""
    spec = replace(EVERYTHING, features=(parse_feature("card.amount_deviation.24h"),))
    batch = stream(spec, [0] * (CHUNK + 4))
    batch.key[spec.keys.index("card")] = 1 << 48
    batch.event_time_ms[:CHUNK] = batch.event_time_ms[0] + 3_600_000 * np.arange(CHUNK)
    batch.event_time_ms[CHUNK:] = batch.event_time_ms[CHUNK - 1] + 3_600_000
    batch.amount[:] = 10.0 + np.arange(len(batch))
    batch.amount[CHUNK : CHUNK + 2] = np.nan
    state, details = new_state(spec), []
    for row in range(len(batch)):
        step(spec, state, batch.rows(row, row + 1))
        details.append(int(state.tables[0].counter[DETAILS]))
    assert details == [0] * (CHUNK + 3) + [1]
    told = state.tables[0].detail[0].reshape(CHUNK, 2)
    assert told[:2].tolist() == [[0.0, 0.0], [0.5, 10.0 + CHUNK + 3]]


def test_the_longest_unseen_expire_first() -> None:
    """Cards of a year ago make room for new ones before the table grows."""
    spec = replace(EVERYTHING, entities=(replace(EVERYTHING.entities[0], slots_max=1_000), *EVERYTHING.entities[1:]))
    batch = stream(spec, [0] * 600)
    batch.key[0] = np.arange(1, 601).astype(np.uint64) << np.uint64(40)
    batch.event_time_ms[300:] += 366 * 86_400_000
    state = new_state(spec)
    step(spec, state, batch)
    assert state.tables[0].counter[SLOTS] < 320
    assert state.tables[0].counter[EXPIRED] > 280
    assert state.tables[0].counter[EVICTED] == 0
