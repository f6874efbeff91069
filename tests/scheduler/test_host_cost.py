"""A steady decode step does no Python work per request: as many calls for 512 rows as for 64."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest
from support.traffic import make_request

from pagednb.config import CacheGeometry, SchedulerConfig
from pagednb.sampling_params import SamplingParams
from pagednb.scheduler.output import RunnerOutput
from pagednb.scheduler.scheduler import Scheduler

NUM_PROMPT = 5
MOST_CALLS = 160


def decoding_scheduler(num_rows: int, *, block_size: int, max_tokens: int = 1000) -> Scheduler:
    """All rows decode, each at the same position."""
    limit = NUM_PROMPT + max_tokens
    geometry = CacheGeometry(
        num_blocks=1 + num_rows * -(-limit // block_size), block_size=block_size, max_model_len=limit
    )
    config = SchedulerConfig(
        max_num_seqs=num_rows, max_num_batched_tokens=num_rows * NUM_PROMPT, max_model_len=limit, eos_token_ids=(0, 1)
    )
    scheduler = Scheduler(config, geometry)
    for request_id in range(num_rows):
        prompt = np.full(NUM_PROMPT, request_id + 2)
        scheduler.add(make_request(request_id, prompt, max_tokens, sampling_params=SamplingParams(temperature=0.0)))
    step(scheduler)
    assert (scheduler.num_running, scheduler.num_waiting) == (num_rows, 0)
    return scheduler


def step(scheduler: Scheduler) -> int:
    """Schedule, and update with a token that ends nothing; return how many updates came of it."""
    plan = scheduler.schedule()
    return len(scheduler.update(plan, RunnerOutput(token_ids=np.full((len(plan.sampled_rows), 1), 2))))


def count_calls(work: Callable[[], object]) -> int:
    """Calls of Python functions and of built-in ones, NumPy's among them."""
    num_calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal num_calls
        num_calls += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return num_calls


def calls_by_step(num_rows: int, *, block_size: int, num_steps: int) -> list[int]:
    scheduler = decoding_scheduler(num_rows, block_size=block_size)
    return [count_calls(lambda: step(scheduler)) for _ in range(num_steps)]


def test_steady_steps_cost_the_same_for_64_and_for_512_rows():
    few, many = (calls_by_step(num_rows, block_size=128, num_steps=20) for num_rows in (64, 512))
    assert few == many
    assert len(set(many[1:])) == 1  # the first step after a change finds the decoding rows again
    assert many[0] <= MOST_CALLS


def test_so_do_steps_in_which_all_rows_need_a_block():
    few, many = (calls_by_step(num_rows, block_size=4, num_steps=20) for num_rows in (64, 512))
    assert few == many
    assert max(many) <= MOST_CALLS
    assert max(many) > min(many), "no step grew"


@pytest.mark.parametrize("num_rows", [64, 512])
def test_the_count_sees_work_per_request(num_rows):
    """The last step ends all requests: if the counter missed that, it would prove nothing."""
    scheduler = decoding_scheduler(num_rows, block_size=16, max_tokens=2)
    assert count_calls(lambda: step(scheduler)) > 3 * num_rows
    assert not scheduler.has_work
