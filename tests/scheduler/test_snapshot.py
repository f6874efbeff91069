"""Snapshots of the scheduler: every block is in one state, and owners and counts are those of the books."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from support.traffic import Setting, Traffic, Watcher, make_request

from pagednb.kv_cache.block_map import BlockState
from pagednb.sampling_params import SamplingParams
from pagednb.scheduler.books import Books
from pagednb.scheduler.snapshot import MAX_WAITING_LISTED, SchedulerSnapshot

SETTINGS = {
    "tiny pool": Setting(num_blocks=12),
    "launch-ahead": Setting(num_blocks=24, launch_ahead=1),
    "no prefix cache": Setting(num_blocks=16, enable_prefix_caching=False),
    "chunks of 7": Setting(num_blocks=40, max_num_batched_tokens=7),
    "several steps at once": Setting(num_blocks=30, max_num_seqs=3, decode_steps=4, launch_ahead=1),
    "many rows": Setting(num_blocks=60, max_num_seqs=32, max_num_batched_tokens=512),
    "swap": Setting(num_blocks=12, num_host_blocks=40, preemption_mode="swap"),
}


def books_of(watcher: Watcher) -> Books:
    return watcher.core.scheduler._books


def owners_by_hand(books: Books) -> dict[int, list[int]]:
    """Look through every table for every block."""
    owners: dict[int, list[int]] = {block_id: [] for block_id in range(books.blocks.pool.num_blocks)}
    for request_id, row in books.rows.row_of.items():
        for block_id in books.blocks.table(row).tolist():
            owners[block_id].append(request_id)
    return owners


def state_by_hand(books: Books, block_id: int, owners: list[int]) -> BlockState:
    if block_id == 0:
        return BlockState.SCRATCH
    if owners:
        return BlockState.OWNED if len(owners) == 1 else BlockState.SHARED
    return BlockState.CACHED if block_id in books.blocks._prefix_cache.block_ids else BlockState.FREE


def check(snapshot: SchedulerSnapshot, books: Books) -> None:
    blocks, by_hand = snapshot.blocks, owners_by_hand(books)
    for block_id, owners in by_hand.items():
        assert sorted(blocks.owners(block_id)) == sorted(owners)
        assert blocks.states[block_id] == state_by_hand(books, block_id, owners), f"block {block_id} of {owners}"
    counts = [blocks.count(state) for state in BlockState]
    assert sum(counts) == blocks.num_blocks + 1 == books.blocks.pool.num_blocks
    stats = snapshot.stats
    assert counts[BlockState.OWNED] + counts[BlockState.SHARED] == stats.num_used_blocks
    assert counts[BlockState.CACHED] == stats.num_cached_blocks
    check_tokens(snapshot)
    check_requests(snapshot, books)


def check_tokens(snapshot: SchedulerSnapshot) -> None:
    """A request's tokens fill its blocks from the first on, and stand in one place of the block in all tables."""
    blocks = snapshot.blocks
    for request in snapshot.running:
        table = blocks.table(request.request_id)
        assert blocks.columns[table].tolist() == list(range(request.num_blocks))
        assert blocks.tokens_in[table].sum() == request.num_computed_tokens
    without_owner = blocks.states <= BlockState.CACHED
    assert (blocks.columns[without_owner] == -1).all()
    is_cached = blocks.states == BlockState.CACHED
    assert (blocks.tokens_in[without_owner] == np.where(is_cached, blocks.block_size, 0)[without_owner]).all()


def check_requests(snapshot: SchedulerSnapshot, books: Books) -> None:
    assert {request.request_id for request in snapshot.running} == books.rows.row_of.keys()
    listed, waiting = (
        [request.request_id for request in snapshot.waiting],
        {s.request.request_id for s in books.waiting},
    )
    assert len(listed) == len(set(listed)) == min(len(waiting), MAX_WAITING_LISTED) and waiting.issuperset(listed)
    for request in (*snapshot.running, *snapshot.waiting):
        assert 0 <= request.num_generated_tokens <= request.max_tokens
        assert 0 <= request.num_computed_tokens <= request.num_prompt_tokens + request.max_tokens
    num_host_blocks = sum(request.num_host_blocks for request in snapshot.waiting)
    is_whole = len(snapshot.waiting) == len(waiting)
    assert num_host_blocks == snapshot.stats.num_used_host_blocks or not is_whole
    assert not any(request.num_host_blocks for request in snapshot.running)
    if snapshot.waiting and (first := books.waiting.peek()) is not None:
        assert snapshot.waiting[0].request_id == first.request.request_id


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", SETTINGS)
def test_books_balance_under_random_traffic(name: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[BlockState] = set()
    most_preempted = most_host_blocks = 0
    step = Watcher.step

    def checked_step(watcher: Watcher) -> Any:
        nonlocal most_preempted, most_host_blocks
        updates = step(watcher)
        snapshot = watcher.core.scheduler.snapshot()
        check(snapshot, books_of(watcher))
        seen.update(map(BlockState, snapshot.blocks.states.tolist()))
        waits = max((request.num_preemptions for request in snapshot.waiting), default=0)
        most_preempted = max(most_preempted, waits)
        most_host_blocks = max(most_host_blocks, snapshot.stats.num_used_host_blocks)
        return updates

    monkeypatch.setattr(Watcher, "step", checked_step)
    watcher = Traffic(SETTINGS[name], seed).run(num_steps=100)
    never_cached = {BlockState.CACHED, BlockState.SHARED} if name == "no prefix cache" else set()
    assert seen | never_cached == set(BlockState)
    if name == "tiny pool":
        assert 0 < most_preempted <= watcher.core.scheduler.stats().num_preemptions
    assert (most_host_blocks > 0) == (name == "swap")


def test_a_snapshot_does_not_change_with_the_engine() -> None:
    watcher = Watcher(Setting(num_blocks=24))
    watcher.add(make_request(1, [5] * 9, 12))
    watcher.step()
    before = watcher.core.scheduler.snapshot()
    tables, states = before.blocks.table_blocks.copy(), before.blocks.states.copy()
    watcher.finish()
    assert (before.blocks.table_blocks == tables).all() and (before.blocks.states == states).all()
    assert not watcher.core.scheduler.snapshot().running


def test_the_first_of_a_long_queue_are_listed_in_order() -> None:
    watcher = Watcher(Setting(num_blocks=24, max_num_seqs=1))
    for request_id in range(1, 3 * MAX_WAITING_LISTED):
        watcher.add(make_request(request_id, [7, request_id % 30 + 1], 2, priority=-1 if request_id == 150 else 0))
    watcher.step()
    waiting = watcher.core.scheduler.snapshot().waiting
    assert [request.request_id for request in waiting] == list(range(1, MAX_WAITING_LISTED + 1))
    assert waiting[0].priority == 0 and not waiting[0].is_interactive


def test_it_takes_few_calls_for_many_rows() -> None:
    """Counted, not timed: a few for each row that runs, none for blocks, whatever their number."""

    def calls(setting: Setting, num_rows: int) -> int:
        watcher = Watcher(setting)
        for request_id in range(1, num_rows + 1):
            params = SamplingParams(temperature=0.0, ignore_eos=True)
            watcher.add(make_request(request_id, [request_id % 30 + 1] * 9, 30, sampling_params=params))
        watcher.step()
        assert watcher.core.scheduler.num_running == num_rows
        count = 0

        def note(frame: object, event: str, argument: object) -> None:
            nonlocal count
            count += event in {"call", "c_call"}

        sys.setprofile(note)
        try:
            watcher.core.scheduler.snapshot()
        finally:
            sys.setprofile(None)
        return count

    rows = {"max_num_seqs": 64, "max_num_batched_tokens": 1024}
    few, many = (calls(Setting(num_blocks=1000, **rows), num_rows) for num_rows in (4, 64))
    assert many - few <= 8 * 60
    assert calls(Setting(num_blocks=20_000, **rows), 4) == few
