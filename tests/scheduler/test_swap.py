"""Preemption by swap: whose blocks go to host memory, what comes back, and that no token changes by it."""

from __future__ import annotations

import dataclasses

import pytest
from support.traffic import Setting, Traffic

from pagednb.scheduler.preemption import PreemptionCosts

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
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", SETTINGS)
def test_every_request_gets_its_own_tokens(name: str, seed: int) -> None:
    watcher = Traffic(dataclasses.replace(SETTINGS[name], costs=COSTS), seed).run(num_steps=150)
    stats, executor = watcher.core.scheduler.stats(), watcher.core.executor
    assert 0 < stats.num_swaps <= stats.num_preemptions
    assert 0 < executor.num_swapped_in == stats.num_blocks_swapped_in <= stats.num_blocks_swapped_out
