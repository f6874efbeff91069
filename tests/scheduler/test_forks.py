"""Forks (``n > 1``) share their parent's prompt, copy what they write to, and get the tokens they would get alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.fake_executor import VOCAB_SIZE
from support.traffic import Setting, Watcher, make_request

from pagednb.sampling_params import SamplingParams

BLOCK_SIZE = 4
PARAMS = SamplingParams(temperature=0.0, ignore_eos=True)
ROOMY = Setting(block_size=BLOCK_SIZE, num_blocks=100, max_num_seqs=8)


def fork_requests(num_prompt: int, *, n: int = 4, max_tokens: int = 6, first_id: int = 1, **fields) -> list:
    """A parent and its ``n - 1`` forks."""
    prompt = np.random.default_rng(num_prompt).integers(1, VOCAB_SIZE, num_prompt)
    common = {"sampling_params": PARAMS, **fields}
    parent = make_request(first_id, prompt, max_tokens, **common)
    forks = [make_request(first_id + i, prompt, max_tokens, parent_id=first_id, **common) for i in range(1, n)]
    return [parent, *forks]


def watch(setting: Setting, requests: list) -> Watcher:
    """Submit all at once."""
    watcher = Watcher(setting)
    for request in requests:
        watcher.add(request)
    return watcher


def step_until(watcher: Watcher, *, num_running: int) -> None:
    while watcher.core.scheduler.num_running < num_running:
        watcher.step()


@pytest.mark.parametrize("caching", [True, False])
@pytest.mark.parametrize("num_prompt", [1, 3, 4, 7, 8, 9, 23])
def test_four_samples_hold_the_prompt_once(num_prompt, caching):
    watcher = watch(dataclasses.replace(ROOMY, enable_prefix_caching=caching), fork_requests(num_prompt))
    step_until(watcher, num_running=4)
    tables = watcher.core.executor.tables
    num_shared = (num_prompt - 1) // BLOCK_SIZE  # the block of the last prompt token is everyone's own
    assert len({tuple(table[:num_shared]) for table in tables}) == 1
    own = [block for table in tables for block in table[num_shared:]]
    assert len(set(own)) == len(own)
    assert watcher.core.scheduler.stats().num_used_blocks == num_shared + len(own)
    watcher.finish()


def test_only_the_last_prompt_token_is_computed_again():
    watcher = watch(dataclasses.replace(ROOMY, enable_prefix_caching=False), fork_requests(23))
    watcher.finish()
    assert watcher.core.num_prefill_tokens == 23 + 3
    assert watcher.core.executor.num_copies == 3


@pytest.mark.parametrize("launch_ahead", [0, 1])
@pytest.mark.parametrize("budget", [2, 7, 64])
def test_a_fork_that_comes_late_shares_what_the_parent_still_holds(budget, launch_ahead):
    parent, *forks = fork_requests(10, max_tokens=12)
    watcher = watch(dataclasses.replace(ROOMY, max_num_batched_tokens=budget, launch_ahead=launch_ahead), [parent])
    for fork in forks:
        for _ in range(4):
            watcher.step()
        watcher.add(fork)
    watcher.finish()


def test_forks_outlive_a_parent_that_is_aborted_before_its_prompt_is_computed():
    watcher = watch(dataclasses.replace(ROOMY, max_num_batched_tokens=4), fork_requests(20))
    watcher.step()
    watcher.step()
    assert watcher.core.scheduler.num_waiting == 3
    watcher.abort([1])
    watcher.finish()


def test_forks_outlive_a_parent_that_is_aborted_before_it_runs():
    watcher = watch(ROOMY, fork_requests(20))
    watcher.abort([1])
    watcher.finish()


def test_forks_that_are_aborted_leave_nothing_behind():
    watcher = watch(dataclasses.replace(ROOMY, max_num_batched_tokens=4), fork_requests(20))
    watcher.step()
    watcher.abort([2, 3, 4])
    assert watcher.core.scheduler.num_waiting == 0
    watcher.finish()


def test_a_parent_is_preempted_while_its_forks_stand_aside():
    setting = Setting(block_size=BLOCK_SIZE, num_blocks=8, max_num_batched_tokens=2, enable_prefix_caching=False)
    urgent = make_request(100, [1, 2, 3], 20, sampling_params=PARAMS, priority=-1)
    watcher = watch(setting, [urgent])
    for request in fork_requests(16, n=3):
        watcher.add(request)
    while not watcher.core.scheduler.stats().num_preemptions:
        watcher.step()
    assert watcher.core.scheduler.num_waiting == 3, "the parent is back in the queue, its forks are still aside"
    watcher.finish()


def test_a_fork_may_have_another_salt_than_its_parent():
    parent, *forks = fork_requests(16, n=3, max_tokens=20)
    watcher = watch(ROOMY, [parent, *(dataclasses.replace(fork, cache_salt=b"other") for fork in forks)])
    watcher.finish()
    watcher.add(dataclasses.replace(parent, request_id=50, cache_salt=b"other"))
    watcher.finish()


def test_samples_differ_because_their_seeds_do():
    watcher = watch(ROOMY, fork_requests(9, max_tokens=20))
    watcher.finish()
    assert len({tuple(update.output_token_ids.tolist()) for update in watcher.final.values()}) == 4
