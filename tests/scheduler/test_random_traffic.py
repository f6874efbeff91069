"""Random traffic: whatever comes, goes and collides, each request gets the tokens that it would get alone."""

from __future__ import annotations

import pytest
from support.traffic import Setting, Traffic

SETTINGS = {
    "tiny pool": Setting(num_blocks=12),
    "tiny pool, launch-ahead": Setting(num_blocks=12, launch_ahead=1),
    "tiny pool, no prefix cache, launch-ahead": Setting(num_blocks=14, enable_prefix_caching=False, launch_ahead=1),
    "chunks of 7": Setting(num_blocks=40, max_num_batched_tokens=7),
    "chunks of 7, tiny pool, launch-ahead": Setting(num_blocks=16, max_num_batched_tokens=7, launch_ahead=1),
    "one token a step": Setting(num_blocks=12, max_num_batched_tokens=1),
    "one row": Setting(num_blocks=30, max_num_seqs=1, launch_ahead=1),
    "many rows": Setting(num_blocks=60, max_num_seqs=32, max_num_batched_tokens=512, launch_ahead=1),
    "blocks of 16": Setting(block_size=16, num_blocks=10, launch_ahead=1),
    "blocks of 128": Setting(block_size=128, num_blocks=5, max_num_batched_tokens=512),
    "two blocks": Setting(block_size=32, num_blocks=3, launch_ahead=1),
    "three steps ahead": Setting(num_blocks=12, launch_ahead=3),
    "no eos": Setting(num_blocks=20, eos_token_ids=()),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", SETTINGS)
def test_every_request_gets_its_own_tokens(name, seed):
    Traffic(SETTINGS[name], seed).run(num_steps=150)
