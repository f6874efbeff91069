"""Preemption by swap: whose blocks go to host memory, what comes back, and that no token changes by it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.traffic import Setting, Traffic, Watcher, make_request

from pagednb.sampling_params import SamplingParams
from pagednb.scheduler.output import SchedulerOutput
from pagednb.scheduler.preemption import PreemptionCosts
from pagednb.scheduler.swap_space import KeptBlocks, SwapSpace

ALWAYS = PreemptionCosts(move_s_per_block=0.0, compute_s_per_token=1.0)
NEVER = PreemptionCosts(move_s_per_block=1.0, compute_s_per_token=0.0)
FROM_TWO_BLOCKS_ON = PreemptionCosts(move_s_per_block=0.0, compute_s_per_token=1 / 9000)
COSTS = (ALWAYS, ALWAYS, NEVER, FROM_TWO_BLOCKS_ON)

# pools for about a tenth of what the requests of ``Traffic`` need together
SETTINGS = {
    "tiny pool": Setting(num_blocks=12, num_host_blocks=60),
    "launch-ahead": Setting(num_blocks=12, num_host_blocks=60, launch_ahead=1),
    "no prefix cache": Setting(num_blocks=14, num_host_blocks=60, enable_prefix_caching=False, launch_ahead=1),
    "little host memory": Setting(num_blocks=12, num_host_blocks=5, launch_ahead=1),
    "chunks of 7": Setting(num_blocks=16, num_host_blocks=60, max_num_batched_tokens=7, launch_ahead=1),
    "many rows": Setting(num_blocks=30, num_host_blocks=200, max_num_seqs=32, max_num_batched_tokens=512),
    "blocks of 16": Setting(block_size=16, num_blocks=10, num_host_blocks=40, launch_ahead=1),
    "several steps at once": Setting(
        num_blocks=12, num_host_blocks=60, max_num_seqs=4, decode_steps=4, launch_ahead=1, logprobs=(None,)
    ),
    "three steps ahead": Setting(num_blocks=12, num_host_blocks=60, launch_ahead=3),
    "constrained": Setting(num_blocks=12, num_host_blocks=60, constrained=0.6, launch_ahead=1),
    "faults": Setting(num_blocks=12, num_host_blocks=20, faults=0.05, launch_ahead=1),
}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", SETTINGS)
def test_every_request_gets_its_own_tokens(name: str, seed: int) -> None:
    watcher = Traffic(dataclasses.replace(SETTINGS[name], costs=COSTS), seed).run(num_steps=150)
    stats, executor = watcher.core.scheduler.stats(), watcher.core.executor
    assert 0 < stats.num_swaps <= stats.num_preemptions
    assert 0 < executor.num_swapped_in <= stats.num_blocks_swapped_in <= stats.num_blocks_swapped_out
    assert bool(watcher.lost) == (name == "faults")
    assert watcher.lost or executor.num_swapped_in == stats.num_blocks_swapped_in


# two requests that together need more blocks than there are
SMALL = Setting(num_blocks=9, num_host_blocks=20, enable_prefix_caching=False, preemption_mode="swap")
ENDLESS = SamplingParams(temperature=0.0, ignore_eos=True)


class Story:
    """A watcher whose plans are kept."""

    def __init__(self, setting: Setting = SMALL) -> None:
        self.watcher = Watcher(setting)
        self.scheduler = self.watcher.core.scheduler
        self.plans: list[SchedulerOutput] = []
        execute = self.watcher.core.executor.execute
        self.watcher.core.executor.execute = lambda plan: (self.plans.append(plan), execute(plan))[1]

    def add(self, request_id: int, prompt: list[int], max_tokens: int = 12, **fields: Any) -> None:
        self.watcher.add(make_request(request_id, prompt, max_tokens, sampling_params=ENDLESS, **fields))

    def run_until_swapped(self) -> SchedulerOutput:
        """Return the plan that takes the blocks away."""
        for _ in range(200):
            self.watcher.step()
            if self.scheduler.stats().num_swapped:
                return self.plans[-1]
        pytest.fail("nobody was swapped out")

    @property
    def swap_ins(self) -> list[int]:
        """Host blocks copied back so far."""
        return [host_block for plan in self.plans for host_block in plan.swap_ins[:, 1].tolist()]


def two_rivals(setting: Setting = SMALL, num_common: int = 0, **fields: Any) -> Story:
    """The second of two requests of 12 prompt tokens has just been swapped out."""
    story = Story(setting)
    story.add(1, [1] * 12, **fields)
    story.add(2, [1] * num_common + [2] * (12 - num_common), **fields)
    story.run_until_swapped()
    return story


@pytest.mark.parametrize("launch_ahead", [0, 1])
def test_who_comes_back_computes_one_token(launch_ahead: int) -> None:
    story = two_rivals(dataclasses.replace(SMALL, launch_ahead=launch_ahead))
    taken = story.plans[-1]
    assert len(taken.swap_outs) and taken.released_rows.tolist() == [story.plans[0].admissions[1].row]
    story.watcher.finish()
    (back,) = (plan for plan in story.plans if len(plan.swap_ins))
    ((admission,), (chunk,)) = back.admissions, back.prefills
    assert back.swap_ins[:, 1].tolist() == taken.swap_outs[:, 1].tolist()
    assert back.swap_ins[:, 0].tolist() == admission.block_ids[: len(taken.swap_outs)].tolist()
    assert admission.num_computed_tokens == len(admission.token_ids) - 1 == chunk.start
    assert len(chunk.token_ids) == 1 and chunk.samples
    assert story.watcher.core.num_prefill_tokens == 12 + 12 + 1


def test_a_prompt_under_way_goes_on_where_it_stood() -> None:
    story = Story(dataclasses.replace(SMALL, max_num_batched_tokens=2, max_num_seqs=2))
    story.add(1, [1] * 5, 24)
    story.add(2, [2] * 18, 1)
    assert len(story.run_until_swapped().swap_outs) > 1
    assert not any(chunk.row == 1 and chunk.samples for plan in story.plans for chunk in plan.prefills)
    story.watcher.finish()
    assert story.watcher.core.num_prefill_tokens == 5 + 18


def test_blocks_that_others_hold_stay_where_they_are() -> None:
    story = two_rivals(dataclasses.replace(SMALL, num_blocks=7, enable_prefix_caching=True), num_common=8)
    shared = story.plans[0].admissions[0].block_ids[:2].tolist()
    (lost,) = (plan.swap_outs for plan in story.plans if len(plan.swap_outs))
    assert not set(shared) & set(lost[:, 0].tolist()) and len(lost) < 4
    story.watcher.finish()
    (back,) = (plan.admissions[0] for plan in story.plans if len(plan.swap_ins))
    assert back.block_ids[:2].tolist() == shared


def test_what_the_prefix_cache_still_has_is_not_copied_back() -> None:
    story = two_rivals(dataclasses.replace(SMALL, enable_prefix_caching=True))
    story.watcher.abort([1])
    story.watcher.finish()
    stats = story.scheduler.stats()
    assert 0 < stats.num_blocks_swapped_in < stats.num_blocks_swapped_out


def test_what_is_lost_meanwhile_is_counted() -> None:
    story = two_rivals()
    assert story.scheduler.stats().lost_share == 1.0
    story.watcher.finish()
    assert story.scheduler.stats().lost_share == 1.0, "without a prefix cache all is lost"
    caching = two_rivals(dataclasses.replace(SMALL, enable_prefix_caching=True))
    caching.watcher.abort([1])
    caching.watcher.finish()
    assert 0 < caching.scheduler.stats().lost_share < 1


def test_without_the_blocks_before_them_swapped_blocks_are_worthless() -> None:
    story = two_rivals(dataclasses.replace(SMALL, num_blocks=7, enable_prefix_caching=True), num_common=8)
    story.watcher.abort([1])
    story.scheduler.reset_prefix_cache()
    story.watcher.finish()
    assert story.swap_ins == []
    assert story.watcher.core.num_prefill_tokens > 12 + 4 + 12


@pytest.mark.parametrize(
    "end",
    [
        lambda story: story.watcher.abort([2]),
        lambda story: story.watcher.take([story.scheduler.finish_stopped(2)]),
        lambda story: story.watcher.abort([1, 2]),
    ],
    ids=["aborted", "stopped", "both"],
)
def test_who_ends_while_swapped_leaves_nothing(end: Callable[[Story], None]) -> None:
    story = two_rivals()
    assert story.scheduler.stats().num_used_host_blocks > 0
    end(story)
    assert story.scheduler.stats().num_used_host_blocks == 0
    story.watcher.finish()
    assert story.swap_ins == []


def test_a_reset_empties_host_memory_and_keeps_the_costs() -> None:
    story = Story(dataclasses.replace(SMALL, preemption_mode=None))
    story.scheduler.set_preemption_costs(ALWAYS)
    for num_swaps in (1, 2):
        for request_id in (1, 2):
            story.scheduler.add(make_request(request_id, [request_id] * 12, 12, sampling_params=ENDLESS))
        while story.scheduler.stats().num_swaps < num_swaps:
            story.watcher.core.step()
        story.watcher.core.reset()
        story.scheduler.check_integrity()
        assert story.scheduler.stats().num_used_host_blocks == 0


def test_without_room_in_host_memory_tokens_are_computed_again() -> None:
    story = Story(dataclasses.replace(SMALL, num_host_blocks=2))
    story.add(1, [1] * 12)
    story.add(2, [2] * 12)
    story.watcher.finish()
    stats = story.scheduler.stats()
    assert (stats.num_preemptions, stats.num_swaps) == (1, 0)
    assert story.watcher.core.num_prefill_tokens > 12 + 12 + 12


def test_the_cheaper_way_is_taken_at_each_preemption() -> None:
    for costs, num_swaps in ((ALWAYS, 1), (NEVER, 0)):
        story = Story(dataclasses.replace(SMALL, preemption_mode=None))
        story.scheduler.set_preemption_costs(costs)
        story.add(1, [1] * 12)
        story.add(2, [2] * 12)
        story.watcher.finish()
        assert (story.scheduler.stats().num_preemptions, story.scheduler.stats().num_swaps) == (1, num_swaps)


def test_moves_wait_for_a_plan_that_is_executed() -> None:
    space = SwapSpace(8)
    kept = KeptBlocks(num_tokens=7, first_column=1, block_ids=np.array([5, 3], dtype=np.int32))
    for request_id in (1, 2, 3):
        space.put(request_id, kept)
    space.drop(1)  # ended before anyone copied: its places may be used at once
    space.put(4, kept)
    space.take(2)  # comes back in the plan that copies it out
    assert space.take_outs()[:, 0].tolist() == [5, 3] * 3
    assert len(space.take_outs()) == 0
    space.check_integrity([3, 4])
    with pytest.raises(AssertionError, match=r"requests \{4\} have blocks in host memory"):
        space.check_integrity([3])
