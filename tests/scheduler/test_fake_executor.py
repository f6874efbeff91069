"""The fake device notices plans that are wrong: without this the random traffic would prove little."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.traffic import Setting, Traffic

from pagednb.scheduler.output import BlockGrowth, SchedulerOutput

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


@pytest.mark.parametrize(
    "spoil",
    [
        without_copies,
        without_releases,
        without_growth,
        with_growth_into_one_block,
        with_shuffled_tables,
        with_half_a_chunk,
    ],
)
def test_a_spoiled_plan_is_noticed(spoil, monkeypatch):
    traffic = Traffic(SETTING, seed=0)
    execute = traffic.watcher.core.executor.execute
    monkeypatch.setattr(traffic.watcher.core.executor, "execute", lambda plan: execute(spoil(plan)))
    with pytest.raises((AssertionError, IndexError, KeyError)):
        traffic.run(num_steps=200)
