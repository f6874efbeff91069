"""The fake device notices wrong plans and a wrong scheduler: without this the random traffic would prove little."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest
from support.traffic import Setting, Traffic

from pagednb.kv_cache import prefix_cache
from pagednb.kv_cache.block_pool import BlockPool
from pagednb.scheduler import prefill_phase
from pagednb.scheduler.books import Books
from pagednb.scheduler.output import BlockGrowth, SchedulerOutput
from pagednb.scheduler.row_table import RowTable
from pagednb.scheduler.scheduler import Scheduler
from pagednb.scheduler.start import find_start
from pagednb.scheduler.swap_space import SwapSpace

SETTING = Setting(num_blocks=24, max_num_seqs=8)


def without_copies(plan: SchedulerOutput) -> SchedulerOutput:
    return dataclasses.replace(plan, block_copies=())


def without_releases(plan: SchedulerOutput) -> SchedulerOutput:
    return dataclasses.replace(plan, released_rows=plan.released_rows[:0])


def without_growth(plan: SchedulerOutput) -> SchedulerOutput:
    return dataclasses.replace(plan, growth=SchedulerOutput(step=0).growth)


def with_growth_into_one_block(plan: SchedulerOutput) -> SchedulerOutput:
    growth = plan.growth
    return dataclasses.replace(
        plan, growth=BlockGrowth(rows=growth.rows, columns=growth.columns, block_ids=np.ones_like(growth.block_ids))
    )


def with_shuffled_tables(plan: SchedulerOutput) -> SchedulerOutput:
    """Blocks that a prefix hit found, in the wrong order."""
    admissions = tuple(dataclasses.replace(each, block_ids=each.block_ids[::-1]) for each in plan.admissions)
    return dataclasses.replace(plan, admissions=admissions)


def with_half_a_chunk(plan: SchedulerOutput) -> SchedulerOutput:
    prefills = tuple(dataclasses.replace(each, token_ids=each.token_ids[:-1]) for each in plan.prefills)
    return dataclasses.replace(plan, prefills=prefills)


def without_swap_outs(plan: SchedulerOutput) -> SchedulerOutput:
    return dataclasses.replace(plan, swap_outs=plan.swap_outs[:0])


def without_swap_ins(plan: SchedulerOutput) -> SchedulerOutput:
    return dataclasses.replace(plan, swap_ins=plan.swap_ins[:0])


def with_swap_outs_into_one_block(plan: SchedulerOutput) -> SchedulerOutput:
    swap_outs = plan.swap_outs.copy()
    swap_outs[:, 1] = 0
    return dataclasses.replace(plan, swap_outs=swap_outs)


def with_swap_ins_in_wrong_order(plan: SchedulerOutput) -> SchedulerOutput:
    blocks, host_blocks = plan.swap_ins.T
    return dataclasses.replace(plan, swap_ins=np.stack([blocks, host_blocks[::-1]], axis=1))


@pytest.mark.parametrize(
    "spoil",
    [
        without_copies,
        without_releases,
        without_growth,
        with_growth_into_one_block,
        with_shuffled_tables,
        with_half_a_chunk,
        without_swap_outs,
        without_swap_ins,
        with_swap_outs_into_one_block,
        with_swap_ins_in_wrong_order,
    ],
)
def test_a_spoiled_plan_is_noticed(spoil, monkeypatch):
    swaps = "swap" in spoil.__name__
    setting = dataclasses.replace(SETTING, num_blocks=12, num_host_blocks=60, preemption_mode="swap")
    traffic = Traffic(setting if swaps else SETTING, seed=0)
    execute = traffic.watcher.core.executor.execute
    monkeypatch.setattr(traffic.watcher.core.executor, "execute", lambda plan: execute(spoil(plan)))
    with pytest.raises((AssertionError, IndexError, KeyError)):
        traffic.run(num_steps=200)


def forget_to_copy(monkeypatch):
    """Forks write to blocks that they share."""

    def share_all(*args, **kwargs):
        found = find_start(*args, **kwargs)
        if found.copied_block_id is None:
            return found
        shared = np.append(found.shared_block_ids, np.int32(found.copied_block_id))
        return found._replace(shared_block_ids=shared, copied_block_id=None)

    monkeypatch.setattr(prefill_phase, "find_start", share_all)


def keep_tokens_of_those_who_left(monkeypatch):
    """A step in flight brings tokens for a row that is another's by now, or nobody's."""
    monkeypatch.setattr(
        RowTable, "is_current", lambda self, rows, request_ids, step: np.ones(len(rows), dtype=np.bool_)
    )


def name_blocks_by_their_own_tokens(monkeypatch):
    """Two sequences with an equal block in the middle share it, whatever came before."""
    own = 4 * SETTING.block_size
    monkeypatch.setattr(prefix_cache, "_digest", lambda data: hashlib.blake2b(data[-own:]).digest())


def forget_owners(monkeypatch):
    """A shared block is free as soon as the first of its owners leaves."""
    monkeypatch.setattr(BlockPool, "acquire", lambda self, block_ids: self.ref_counts.put(block_ids, 1))


def hand_out_used_blocks(monkeypatch):
    """Each allocation returns the same blocks."""
    allocate = BlockPool.allocate

    def stuck(self, count):
        _, evicted = allocate(self, count)
        return np.arange(1, count + 1, dtype=np.int32), evicted

    monkeypatch.setattr(BlockPool, "allocate", stuck)


def free_host_blocks_too_early(monkeypatch):
    """The host blocks of a request are free while it waits."""
    put = SwapSpace.put

    def put_and_free(self, request_id, kept):
        put(self, request_id, kept)
        self.pool.release(self.find(request_id).host_block_ids)

    monkeypatch.setattr(SwapSpace, "put", put_and_free)


def keep_unknown_tokens(monkeypatch):
    """A swapped request counts on the token that was in flight when it lost its row."""
    kept_blocks = Books._kept_blocks

    def too_many(self, row):
        kept = kept_blocks(self, row)
        return kept._replace(num_tokens=kept.num_tokens + 1)

    monkeypatch.setattr(Books, "_kept_blocks", too_many)


@pytest.mark.parametrize(
    "sabotage",
    [
        forget_to_copy,
        keep_tokens_of_those_who_left,
        name_blocks_by_their_own_tokens,
        forget_owners,
        hand_out_used_blocks,
        free_host_blocks_too_early,
        keep_unknown_tokens,
    ],
)
def test_a_sabotaged_scheduler_is_noticed_without_its_own_checks(sabotage, monkeypatch):
    monkeypatch.setattr(Scheduler, "check_integrity", lambda self: None)
    setting = dataclasses.replace(SETTING, launch_ahead=1, num_host_blocks=60, preemption_mode="swap")
    traffic = Traffic(setting, seed=0)
    sabotage(monkeypatch)
    with pytest.raises((AssertionError, LookupError, ValueError)):
        traffic.run(num_steps=200)
