"""What preemption costs, as learnt from steps."""

from __future__ import annotations

import numpy as np
import pytest
from support.fake_executor import FakeExecutor
from support.traffic import make_request

from pagednb.config import CacheGeometry, SchedulerConfig
from pagednb.engine.core import EngineCore
from pagednb.engine.preemption_meter import NUM_REMEMBERED, PRIOR_BYTES_PER_S, STALE_AFTER_STEPS, PreemptionMeter
from pagednb.scheduler.output import PrefillChunk, SchedulerOutput
from pagednb.scheduler.preemption import PreemptionCosts
from pagednb.scheduler.scheduler import Scheduler

BLOCK_BYTES = 2**20


def plan(*, prompt_tokens: int = 0, decodes: int = 0, outs: int = 0, ins: int = 0) -> SchedulerOutput:
    chunk = PrefillChunk(row=0, start=0, token_ids=np.zeros(prompt_tokens, dtype=np.int32), samples=True)
    return SchedulerOutput(
        step=1,
        prefills=(chunk,) if prompt_tokens else (),
        decode_rows=np.arange(decodes, dtype=np.int32),
        swap_outs=np.zeros((outs, 2), dtype=np.int32),
        swap_ins=np.zeros((ins, 2), dtype=np.int32),
    )


def test_before_anything_was_measured_there_is_a_prior() -> None:
    meter = PreemptionMeter(block_bytes=BLOCK_BYTES)
    assert meter.costs.move_s_per_block == BLOCK_BYTES / PRIOR_BYTES_PER_S
    assert meter.costs.compute_s_per_token == PreemptionCosts().compute_s_per_token


def test_large_prompts_and_moves_are_measured_apart() -> None:
    meter = PreemptionMeter(block_bytes=BLOCK_BYTES)
    assert meter.record(plan(prompt_tokens=400, decodes=100, outs=10, ins=30), device_s=5.0, swap_s=1.0)
    assert meter.costs == PreemptionCosts(move_s_per_block=1 / 40, compute_s_per_token=5 / 500)
    assert meter.record(plan(decodes=100, ins=10), device_s=6.0, swap_s=1.0)
    assert meter.costs.compute_s_per_token == 5 / 500
    assert meter.costs.move_s_per_block == pytest.approx(2 / 50), "larger moves count for more"


def test_small_steps_say_nothing() -> None:
    meter = PreemptionMeter(block_bytes=BLOCK_BYTES)
    before = meter.costs
    assert not meter.record(plan(prompt_tokens=100, decodes=500), device_s=1.0, swap_s=None)
    assert not meter.record(plan(decodes=500), device_s=1.0, swap_s=None)
    assert meter.costs is before


def test_a_slow_first_step_is_soon_forgotten() -> None:
    meter = PreemptionMeter(block_bytes=BLOCK_BYTES)
    for seconds in [90.0] + [0.5] * NUM_REMEMBERED:
        meter.record(plan(prompt_tokens=500, ins=5), device_s=seconds, swap_s=seconds)
    assert meter.costs == PreemptionCosts(move_s_per_block=0.1, compute_s_per_token=0.001)


def test_moves_that_were_slow_once_are_tried_again_later() -> None:
    """Else nobody would move blocks any more, and so nobody learn that it is fast."""
    meter = PreemptionMeter(block_bytes=BLOCK_BYTES)
    prior = meter.costs.move_s_per_block
    meter.record(plan(prompt_tokens=400, outs=10), device_s=4.0, swap_s=90.0)
    assert meter.costs.move_s_per_block == 9.0
    for _ in range(STALE_AFTER_STEPS - 1):
        assert not meter.record(plan(decodes=10), device_s=1.0, swap_s=None)
    assert meter.record(plan(decodes=10), device_s=1.0, swap_s=None)
    assert meter.costs == PreemptionCosts(move_s_per_block=prior, compute_s_per_token=0.01)
    assert not meter.record(plan(decodes=10), device_s=1.0, swap_s=None), "there is nothing more to forget"
    meter.record(plan(outs=10), device_s=4.0, swap_s=1.0)
    assert meter.costs.move_s_per_block == 0.1


def test_moves_now_and_then_are_remembered() -> None:
    meter = PreemptionMeter(block_bytes=BLOCK_BYTES)
    for _ in range(3):
        meter.record(plan(outs=10), device_s=4.0, swap_s=1.0)
        for _ in range(STALE_AFTER_STEPS - 1):
            meter.record(plan(decodes=10), device_s=1.0, swap_s=None)
    assert meter.costs.move_s_per_block == 0.1


def test_the_scheduler_goes_by_its_figures_from_the_first_step_on() -> None:
    geometry = CacheGeometry(num_blocks=40, block_size=16, max_model_len=512)
    config = SchedulerConfig(max_num_seqs=2, max_num_batched_tokens=512, max_model_len=512)
    meter, scheduler = PreemptionMeter(block_bytes=4096), Scheduler(config, geometry)
    prior = meter.costs
    core = EngineCore(scheduler, FakeExecutor(geometry), preemption_meter=meter)
    assert scheduler.stats().preemption_costs is prior
    scheduler.add(make_request(1, [1] * 400, max_tokens=1))
    core.step()
    assert scheduler.stats().preemption_costs is meter.costs is not prior
