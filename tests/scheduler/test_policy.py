"""Who runs when: budget, chunks, order, preemption, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from support.fake_executor import EOS, tokens_alone
from support.traffic import Setting, Watcher, make_request

from pagednb.config import CacheGeometry, SchedulerConfig
from pagednb.errors import ContextLengthError
from pagednb.request import FinishReason
from pagednb.sampling_params import SamplingParams
from pagednb.scheduler.output import RunnerOutput, SchedulerOutput
from pagednb.scheduler.scheduler import Scheduler

ENDLESS = SamplingParams(temperature=0.0, ignore_eos=True)


class Planner:
    """A scheduler whose plans are looked at; every sampled token is 7."""

    def __init__(self, **options) -> None:
        sizes = {"num_blocks": 100, "block_size": 4, "max_model_len": 200}
        limits = {"max_num_seqs": 8, "max_num_batched_tokens": 32, "enable_prefix_caching": False}
        geometry = CacheGeometry(**{name: options.pop(name, value) for name, value in sizes.items()})
        limits |= options
        self.scheduler = Scheduler(SchedulerConfig(max_model_len=geometry.max_model_len, **limits), geometry)
        self.num_requests = 0

    def add(self, num_prompt: int, max_tokens: int = 20, **fields) -> int:
        self.num_requests += 1
        # prompts differ from their first token on
        prompt = [self.num_requests, *range(num_prompt - 1)]
        self.scheduler.add(make_request(self.num_requests, prompt, max_tokens, sampling_params=ENDLESS, **fields))
        return self.num_requests

    def step(self) -> SchedulerOutput:
        plan = self.scheduler.schedule()
        token_ids = np.full((len(plan.sampled_rows), 1), 7)
        self.scheduler.update(plan, RunnerOutput(token_ids=token_ids))
        self.scheduler.check_integrity()
        return plan


def chunk_sizes(plan: SchedulerOutput) -> list[int]:
    return [len(chunk.token_ids) for chunk in plan.prefills]


def admitted(plan: SchedulerOutput) -> list[int]:
    """Request ids, told by the first token of their prompts."""
    return [int(admission.token_ids[0]) for admission in plan.admissions]


# budget and chunks


def test_prefills_and_decodes_share_one_budget():
    planner = Planner(max_num_batched_tokens=32)
    for _ in range(3):
        planner.add(20)
    first, second, third = planner.step(), planner.step(), planner.step()
    assert (chunk_sizes(first), len(first.decode_rows)) == ([20, 12], 0)
    assert (chunk_sizes(second), len(second.decode_rows)) == ([8, 20], 1)
    assert (chunk_sizes(third), len(third.decode_rows)) == ([], 3)
    assert [chunk.samples for plan in (first, second) for chunk in plan.prefills] == [True, False, True, True]


def test_a_long_prompt_takes_what_decodes_leave():
    planner = Planner(max_num_batched_tokens=10)
    planner.add(4)
    planner.step()
    planner.add(30)
    plans = [planner.step() for _ in range(4)]
    assert [chunk_sizes(plan) for plan in plans] == [[9], [9], [9], [3]]
    assert [plan.prefills[0].start for plan in plans] == [0, 9, 18, 27]
    assert all(plan.num_tokens <= 10 for plan in plans)


def test_a_prompt_takes_blocks_chunk_by_chunk():
    planner = Planner(max_num_batched_tokens=10)
    planner.add(30)
    first, second = planner.step(), planner.step()
    assert len(first.admissions[0].block_ids) == 3 and not len(first.growth.rows)
    assert second.growth.columns.tolist() == [3, 4]


def test_a_decode_grows_when_its_blocks_are_full():
    planner = Planner()
    planner.add(3, max_tokens=10)
    plans = [planner.step() for _ in range(10)]
    # the first decode writes position 3; positions 4 and 8 begin blocks
    assert [len(plan.growth.rows) for plan in plans] == [0, 0, 1, 0, 0, 0, 1, 0, 0, 0]
    assert [plan.max_seq_len for plan in plans] == list(range(3, 13))
    assert not planner.scheduler.has_work


def test_steady_plans_carry_the_same_array_of_rows():
    planner = Planner()
    planner.add(5, max_tokens=30)
    planner.step()
    assert planner.step().decode_rows is planner.step().decode_rows


# order


def test_priority_first_then_arrival():
    planner = Planner(max_num_seqs=1)
    for priority in (1, 0, 1, -1, 0):
        planner.add(4, max_tokens=1, priority=priority)
    assert [admitted(planner.step())[0] for _ in range(5)] == [4, 2, 5, 1, 3]


def test_nobody_overtakes_a_request_that_does_not_fit_yet():
    planner = Planner(num_blocks=11, max_model_len=40)
    planner.add(16, max_tokens=5)
    planner.step()
    planner.add(24, max_tokens=8)
    planner.add(1, max_tokens=1)
    plans = [planner.step() for _ in range(5)]
    assert [admitted(plan) for plan in plans] == [[], [], [], [], [2, 3]]


def test_the_last_served_is_preempted_and_comes_back_first():
    planner = Planner(num_blocks=9, max_model_len=32)
    for _ in range(2):
        planner.add(12, max_tokens=12)
    late = planner.add(4, max_tokens=4)
    plans = [planner.step()]
    while not len(plans[-1].released_rows):
        plans.append(planner.step())
    assert planner.scheduler.stats().num_preemptions == 1
    assert plans[-1].released_rows.tolist() == [plans[0].admissions[1].row]
    assert not plans[-1].admissions
    while planner.scheduler.has_work:
        plans.append(planner.step())
    order = [request_id for plan in plans for request_id in admitted(plan)]
    assert order == [1, 2, 2, late]
    (comeback,) = (a for plan in plans for a in plan.admissions if len(a.token_ids) > a.num_prompt_tokens == 12)
    assert comeback.token_ids[12:].tolist() == [7] * (len(comeback.token_ids) - 12)


def test_the_less_important_is_preempted_even_if_it_came_first():
    planner = Planner(num_blocks=9, max_model_len=32)
    planner.add(12, max_tokens=12, priority=5)
    planner.add(12, max_tokens=12, priority=0)
    first = planner.step()
    assert admitted(first) == [2, 1]
    plan = planner.step()
    while not len(plan.released_rows):
        plan = planner.step()
    assert plan.released_rows.tolist() == [first.admissions[1].row]


def test_admission_leaves_a_block_to_each_request_that_will_grow():
    planner = Planner(num_blocks=10, max_model_len=36)
    planner.add(16, max_tokens=20)
    planner.add(16, max_tokens=20)
    assert admitted(planner.step()) == [1]
    calm = Planner(num_blocks=10, max_model_len=36)
    calm.add(16, max_tokens=1)
    calm.add(16, max_tokens=20)
    assert admitted(calm.step()) == [1, 2]


@pytest.mark.parametrize("launch_ahead", [0, 1])
def test_a_request_finishes_under_a_steady_stream_of_others(launch_ahead):
    """A pool for about two at a time, and always newcomers: whoever came first is never left behind."""
    watcher = Watcher(Setting(num_blocks=12, launch_ahead=launch_ahead))
    watcher.add(make_request(0, range(1, 20), 20, sampling_params=ENDLESS))
    for request_id in range(1, 60):
        watcher.add(make_request(request_id, [request_id % 30 + 1] * 9, 12, sampling_params=ENDLESS))
        watcher.step()
        if 0 in watcher.final:
            break
    assert 0 in watcher.final and len(watcher.final) < 10
    watcher.finish()


# refusals


def test_a_request_beyond_the_model_is_refused_with_numbers():
    with pytest.raises(ContextLengthError, match=r"150 tokens and asks for 51 more; max_model_len is 200\. Shorten"):
        Planner().add(150, max_tokens=51)


def test_a_request_beyond_the_cache_is_refused_with_numbers():
    planner = Planner(num_blocks=11)
    with pytest.raises(ContextLengthError, match=r"11 KV blocks of 4 tokens; the whole cache has 10\. Shorten"):
        planner.add(30, max_tokens=11)
    assert not planner.scheduler.has_work
    planner.add(30, max_tokens=10)
    while planner.scheduler.has_work:
        planner.step()
    assert planner.scheduler.stats().num_preemptions == 0


# ends


@pytest.mark.parametrize("launch_ahead", [0, 1])
def test_why_sequences_end(launch_ahead):
    watcher = Watcher(Setting(num_blocks=200, max_num_seqs=32, max_num_batched_tokens=512, launch_ahead=launch_ahead))
    params = {
        "eos": SamplingParams(temperature=0.0),
        "length": ENDLESS,
        "stop token": SamplingParams(temperature=0.0, ignore_eos=True, stop_token_ids=list(range(1, 10))),
        "eos as stop token": SamplingParams(temperature=0.0, ignore_eos=True, stop_token_ids=[EOS]),
        "both": SamplingParams(temperature=0.0, stop_token_ids=[EOS]),
    }
    for index, each in enumerate(params.values()):
        watcher.add(make_request(index, [3, index], 100, sampling_params=each, seed=5))
    watcher.finish()
    reasons = {name: watcher.final[index].finish_reason for index, name in enumerate(params)}
    assert {name for name, reason in reasons.items() if reason is FinishReason.LENGTH} == {"length"}
    stop_ids = {name: watcher.final[index].stop_token_id for index, name in enumerate(params)}
    assert stop_ids["eos"] is stop_ids["both"] is None
    assert stop_ids["eos as stop token"] == EOS and stop_ids["stop token"] in range(1, 10)


@pytest.mark.parametrize("launch_ahead", [0, 1])
def test_no_step_is_wasted_on_an_end_known_ahead(launch_ahead):
    watcher = Watcher(Setting(launch_ahead=launch_ahead))
    watcher.add(make_request(1, [5, 6, 7], 6, sampling_params=ENDLESS))
    watcher.finish()
    assert watcher.core.executor.num_steps == 6


def test_a_row_that_ends_by_eos_costs_one_step_under_launch_ahead():
    request = make_request(1, [5, 6, 7], 60)
    watcher = Watcher(Setting(launch_ahead=1, num_blocks=40))
    watcher.add(request)
    watcher.finish()
    assert tokens_alone(request)[-1] == EOS
    assert watcher.core.executor.num_steps == len(tokens_alone(request)) + 1


def test_outputs_may_become_long():
    watcher = Watcher(Setting(num_blocks=41, launch_ahead=1))
    for request_id in range(2):
        watcher.add(make_request(request_id, [request_id], 150 - request_id, sampling_params=ENDLESS))
    watcher.finish()
    assert [len(watcher.final[request_id].output_token_ids) for request_id in range(2)] == [150, 149]


def test_abort_returns_the_output_so_far_and_frees_everything():
    watcher = Watcher(Setting(max_num_seqs=1))
    running = make_request(1, [5, 6, 7], 30, sampling_params=ENDLESS)
    watcher.add(running)
    watcher.add(make_request(2, [9], 5))
    for _ in range(4):
        watcher.step()
    watcher.abort([1, 2, 3])
    assert watcher.final[1].output_token_ids.tolist() == tokens_alone(running)[:4]
    assert watcher.final[2].output_token_ids.tolist() == []
    assert not watcher.core.has_work and watcher.core.scheduler.stats().num_used_blocks == 0


def test_rows_released_between_plans_reach_the_runner_once():
    planner = Planner()
    planner.add(4)
    row = planner.step().admissions[0].row
    planner.scheduler.abort([1])
    assert planner.scheduler.schedule().is_empty
    assert not len(planner.scheduler.schedule().released_rows)
    planner.add(4)
    plan = planner.step()
    assert plan.released_rows.tolist() == [row] and plan.admissions[0].row == row
    assert not len(planner.step().released_rows)


def test_reset_forgets_requests_and_keeps_counting_steps():
    planner = Planner(enable_prefix_caching=True)
    planner.add(12)
    step = planner.step().step
    planner.scheduler.reset()
    planner.scheduler.check_integrity()
    stats = planner.scheduler.stats()
    assert not planner.scheduler.has_work and (stats.num_used_blocks, stats.num_cached_blocks) == (0, 0)
    planner.add(12)
    assert planner.step().step == step + 1
