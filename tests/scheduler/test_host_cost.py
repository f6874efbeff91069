"""A steady decode step does no Python work per request: as many calls for 512 rows as for 64.

Where rows end and others come in, a step costs by the newcomer, not by the row.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable

import numpy as np
import pytest
from support.traffic import make_request

from pagednb.config import CacheGeometry, SchedulerConfig
from pagednb.engine.input_processor import InputProcessor
from pagednb.engine.token_prompt import TokenPrompt
from pagednb.request import Request
from pagednb.sampling_params import SamplingParams
from pagednb.scheduler.output import RunnerOutput
from pagednb.scheduler.scheduler import Scheduler

NUM_PROMPT = 5
MOST_CALLS = 160
CALLS_PER_NEWCOMER = 170
NUM_TURNS = 10


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


def turnover_calls(num_rows: int, num_newcomers: int, *, num_prefix: int, prompt_length: int) -> int:
    """Calls of a step in which so many rows end and as many prompts come in, with their blocks' names."""
    geometry = CacheGeometry(num_blocks=1 + num_rows * 12, block_size=16, max_model_len=prompt_length + 1000)
    config = SchedulerConfig(
        max_num_seqs=num_rows, max_num_batched_tokens=2**20, max_model_len=geometry.max_model_len, eos_token_ids=(0, 1)
    )
    scheduler, processor = Scheduler(config, geometry), InputProcessor(None, geometry, vocab_size=2**30, seed=0)
    numbers = itertools.count(2**20)

    def requests(count: int, max_tokens: int) -> list[Request]:
        made: list[Request] = []
        params = SamplingParams(temperature=0.0, max_tokens=max_tokens)
        for _ in range(count):
            prompt = np.arange(prompt_length, dtype=np.int32)
            prompt[num_prefix:] = next(numbers)
            made += processor.make_requests(TokenPrompt(prompt), params, stream=False, priority=0)
        return made

    def turn(newcomers: list[Request]) -> None:
        for request in newcomers:
            scheduler.add(request)
        assert step(scheduler) == num_newcomers

    for request in requests(num_rows - num_newcomers, max_tokens=900):
        scheduler.add(request)
    step(scheduler)
    for _ in range(NUM_TURNS):  # the cache fills up with prefixes nobody uses
        turn(requests(num_newcomers, max_tokens=1))
    newcomers = requests(num_newcomers, max_tokens=1)
    return count_calls(lambda: turn(newcomers))


@pytest.mark.parametrize("num_prefix", [0, 64])
def test_turnover_costs_by_the_newcomer_and_not_by_the_row(num_prefix):
    few, many = (turnover_calls(num_rows, 51, num_prefix=num_prefix, prompt_length=100) for num_rows in (128, 512))
    assert abs(few - many) <= MOST_CALLS // 4, "rows that stay cost nothing"
    assert many <= MOST_CALLS + 51 * CALLS_PER_NEWCOMER


def test_a_newcomer_costs_the_same_however_long_its_prompt():
    short, long = (turnover_calls(64, 6, num_prefix=0, prompt_length=length) for length in (50, 120))
    num_more_blocks = 6 * (120 // 16 - 50 // 16)
    assert abs(long - short) < num_more_blocks, "not a call for each block"
