"""Random traffic: whatever comes, goes and collides, each request gets the tokens that it would get alone."""

from __future__ import annotations

import dataclasses

import pytest
from support.traffic import Setting, Traffic

SETTINGS = {
    "tiny pool": Setting(num_blocks=12),
    "tiny pool, launch-ahead": Setting(num_blocks=12, launch_ahead=1),
    "tiny pool, no prefix cache, launch-ahead": Setting(num_blocks=14, enable_prefix_caching=False, launch_ahead=1),
    "chunks of 7": Setting(num_blocks=40, max_num_batched_tokens=7),
    "chunks of 7, tiny pool, launch-ahead": Setting(num_blocks=16, max_num_batched_tokens=7, launch_ahead=1),
    "one token a step": Setting(num_blocks=12, max_num_batched_tokens=1, max_num_seqs=1),
    "a token for each row": Setting(num_blocks=20, max_num_batched_tokens=6),
    "one row": Setting(num_blocks=30, max_num_seqs=1, launch_ahead=1),
    "many rows": Setting(num_blocks=60, max_num_seqs=32, max_num_batched_tokens=512, launch_ahead=1),
    "blocks of 16": Setting(block_size=16, num_blocks=10, launch_ahead=1),
    "blocks of 128": Setting(block_size=128, num_blocks=5, max_num_batched_tokens=512),
    "two blocks": Setting(block_size=32, num_blocks=3, launch_ahead=1),
    "three steps ahead": Setting(num_blocks=12, launch_ahead=3),
    "a limit of one token": Setting(num_blocks=24, step_tokens=1, launch_ahead=1),
    "no eos": Setting(num_blocks=20, eos_token_ids=()),
}

# all rows taken, most of the time: while one is free and somebody waits, steps go out singly
SEVERAL_STEPS = {
    "few rows": Setting(num_blocks=40, max_num_seqs=3),
    "few rows, launch-ahead": Setting(num_blocks=30, max_num_seqs=3, launch_ahead=1),
    "no prefix cache, launch-ahead": Setting(
        num_blocks=24, max_num_seqs=2, enable_prefix_caching=False, launch_ahead=1
    ),
    "one row": Setting(num_blocks=30, max_num_seqs=1, launch_ahead=1),
    "three steps ahead": Setting(num_blocks=30, max_num_seqs=2, launch_ahead=3),
    "blocks of 16": Setting(block_size=16, num_blocks=14, max_num_seqs=3, launch_ahead=1),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", SETTINGS)
def test_every_request_gets_its_own_tokens(name, seed):
    Traffic(SETTINGS[name], seed).run(num_steps=150)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("decode_steps", [2, 3, 8])
@pytest.mark.parametrize("name", SEVERAL_STEPS)
def test_so_it_does_when_several_decode_steps_go_out_at_once(name, decode_steps, seed):
    setting = dataclasses.replace(SEVERAL_STEPS[name], decode_steps=decode_steps, logprobs=(None,) * 19 + (2,))
    watcher = Traffic(setting, seed).run(num_steps=150)
    assert watcher.core.executor.num_runs_ahead > 10


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("constrained", [0.4, 1.0])
@pytest.mark.parametrize("name", SETTINGS)
def test_so_it_does_when_tokens_are_constrained(name, constrained, seed):
    has_runs = seed != 3
    setting = dataclasses.replace(
        SETTINGS[name], constrained=constrained, append_forced_tokens=has_runs, decode_steps=4
    )
    watcher = Traffic(setting, seed).run(150)
    assert (watcher.core.executor.num_run_tokens > 0) == has_runs
    outputs = [(watcher.requests[i].grammar, len(update.output_token_ids)) for i, update in watcher.final.items()]
    assert any(grammar is not None and num_tokens > 3 for grammar, num_tokens in outputs)
    limits = [(num_tokens, grammar.fails_after) for grammar, num_tokens in outputs if grammar is not None]
    assert all(most is None or num_tokens <= most for num_tokens, most in limits)
    assert constrained < 1 or any(num_tokens == most for num_tokens, most in limits), "no constraint failed"
