"""What the prefix cache saves, and what the figures say about it."""

from __future__ import annotations

import dataclasses

import pytest
from support.fake_executor import FakeExecutor
from support.traffic import Setting, Watcher, make_request

from pagednb.sampling_params import SamplingParams
from pagednb.scheduler.output import LogprobArrays, SchedulerOutput

ENDLESS = SamplingParams(temperature=0.0, ignore_eos=True)
ROOMY = Setting(num_blocks=100, max_num_batched_tokens=512, max_num_seqs=8)
PREFIX = list(range(1, 31))


class PlanRecorder(FakeExecutor):
    """Remembers the plans it executed."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.plans: list[SchedulerOutput] = []

    def execute(self, plan):
        self.plans.append(plan)
        return super().execute(plan)


def make_watcher(setting: Setting = ROOMY) -> Watcher:
    watcher = Watcher(setting)
    watcher.core.executor = PlanRecorder(setting.geometry)
    return watcher


def prefill_sizes(watcher: Watcher) -> list[list[int]]:
    plans = watcher.core.executor.plans
    return [[len(chunk.token_ids) for chunk in plan.prefills] for plan in plans if plan.prefills]


def test_requests_of_one_step_share_what_the_first_computes():
    watcher = make_watcher()
    for request_id in range(4):
        watcher.add(make_request(request_id, [*PREFIX, request_id + 1], 5))
    watcher.step()
    # 30 tokens fill 7 blocks of 4: the others compute the rest of their 31 tokens
    assert prefill_sizes(watcher) == [[31, 3, 3, 3]]
    assert watcher.core.scheduler.stats().num_used_blocks == 7 + 4
    watcher.finish()
    assert [watcher.final[request_id].num_cached_tokens for request_id in range(4)] == [0, 28, 28, 28]


def test_prompts_that_part_ways_within_a_block_start_with_a_copy_of_it():
    watcher = make_watcher()
    for request_id in range(4):
        watcher.add(make_request(request_id, [*PREFIX, *[request_id + 1] * 7], 5))
        watcher.step()
    # the second finds 28 tokens in full blocks, and leaves behind a block that begins with the 2 that follow them
    assert prefill_sizes(watcher) == [[37], [9], [7], [7]]
    assert watcher.core.executor.num_copies == 2
    watcher.finish()
    assert [watcher.final[request_id].num_cached_tokens for request_id in range(4)] == [0, 28, 30, 30]


def test_prompts_that_part_ways_in_their_first_block_do_so_too():
    watcher = make_watcher()
    for request_id, prompt in enumerate([[1, 2, 3, 4, 5], [1, 2, 3, 9, 5, 6], [1, 2, 3], [1, 9, 9, 9]]):
        watcher.add(make_request(request_id, prompt, 5))
        watcher.step()
    # of the third all tokens are known, and one is computed; a single token in common is not worth a copy
    assert prefill_sizes(watcher) == [[5], [3], [1], [4]]
    watcher.finish()


def test_a_block_is_copied_only_once_it_is_written():
    """Rows that come in together compute what they have in common: their copies would be made before the pass."""
    watcher = make_watcher()
    watcher.add(make_request(0, [*PREFIX, *[1] * 7], 5))
    watcher.step()
    for request_id in (1, 2):
        watcher.add(make_request(request_id, [*PREFIX, *[request_id + 1] * 7], 5))
    watcher.step()
    assert prefill_sizes(watcher)[-1] == [9, 9]
    watcher.finish()


def test_no_copy_of_a_block_that_was_evicted_or_of_another_tenant():
    watcher = make_watcher(dataclasses.replace(ROOMY, num_blocks=12))
    for request_id in range(2):
        watcher.add(make_request(request_id, [*PREFIX[:10], *[request_id + 1] * 7], 2))
        watcher.finish()
    watcher.add(make_request(2, [*PREFIX[:10], *[3] * 7], 2, cache_salt=b"other"))
    watcher.finish()
    watcher.add(make_request(3, [20] * 40, 2))  # takes all but one of the 11 blocks
    watcher.finish()
    watcher.add(make_request(4, [*PREFIX[:10], *[5] * 7], 2))
    watcher.finish()
    assert prefill_sizes(watcher) == [[17], [9], [17], [40], [17]]


def test_without_prefix_caching_each_computes_its_own():
    watcher = make_watcher(dataclasses.replace(ROOMY, enable_prefix_caching=False))
    for request_id in range(2):
        watcher.add(make_request(request_id, PREFIX, 5))
    watcher.finish()
    assert prefill_sizes(watcher) == [[30, 30]]
    stats = watcher.core.scheduler.stats()
    assert (stats.num_prefix_tokens_hit, stats.num_cached_blocks) == (0, 0)


def test_a_whole_prompt_in_the_cache_still_computes_its_last_block():
    watcher = make_watcher()
    for request_id in range(2):
        watcher.add(make_request(request_id, PREFIX[:28], 5))
        watcher.finish()
    assert prefill_sizes(watcher) == [[28], [4]]


@pytest.mark.parametrize("launch_ahead", [0, 1])
def test_the_next_turn_of_a_chat_finds_the_answer_too(launch_ahead):
    watcher = make_watcher(dataclasses.replace(ROOMY, launch_ahead=launch_ahead))
    watcher.add(make_request(0, PREFIX, 20, sampling_params=ENDLESS))
    watcher.finish()
    answer = watcher.final[0].output_token_ids.tolist()
    watcher.add(make_request(1, [*PREFIX, *answer, 5, 6], 5))
    watcher.finish()
    # the last token of the answer was sampled and never computed: 49 of 50 have KV, 12 full blocks
    assert watcher.final[1].num_cached_tokens == 48


def test_a_preempted_request_finds_its_own_blocks():
    watcher = make_watcher(Setting(num_blocks=14, max_num_batched_tokens=512))
    for request_id in range(2):
        watcher.add(make_request(request_id, [request_id + 1, *PREFIX[:15]], 30, sampling_params=ENDLESS))
    watcher.finish()
    (comeback,) = (
        admission
        for plan in watcher.core.executor.plans
        for admission in plan.admissions
        if len(admission.token_ids) > admission.num_prompt_tokens
    )
    assert watcher.core.scheduler.stats().num_preemptions == 1
    assert comeback.num_computed_tokens > 0
    assert watcher.final[1].num_cached_tokens == 0


def test_figures_of_the_prefix_cache():
    watcher = make_watcher()
    watcher.add(make_request(0, PREFIX, 5))
    watcher.add(make_request(1, PREFIX[:20], 5, cache_salt=b"other"))
    watcher.finish()
    watcher.add(make_request(2, PREFIX[:21], 5))
    watcher.finish()
    stats = watcher.core.scheduler.stats()
    assert (stats.num_prefix_tokens_asked, stats.num_prefix_tokens_hit) == (71, 20)
    assert stats.prefix_hit_rate == pytest.approx(20 / 71)
    assert stats.num_cached_blocks > 0 == stats.num_used_blocks
    watcher.core.scheduler.reset_prefix_cache()
    watcher.core.scheduler.check_integrity()
    assert watcher.core.scheduler.stats().num_cached_blocks == 0


def test_waste_is_what_one_counts_by_hand():
    watcher = make_watcher()
    for request_id in range(2):
        watcher.add(make_request(request_id, [*PREFIX[:9], request_id + 1], 5, sampling_params=ENDLESS))
    empty = in_tables = in_memory = 0
    for num_tokens in range(10, 15):  # of each request, while 5 tokens are sampled
        watcher.step()
        num_blocks = -(-num_tokens // 4)
        in_tables += 2 * num_blocks * 4
        in_memory += (2 * num_blocks - 2) * 4  # two blocks are shared
        empty += 2 * (num_blocks * 4 - num_tokens)
        stats = watcher.core.scheduler.stats()
        if num_tokens < 14:
            assert stats.waste == pytest.approx(1 - num_tokens / (num_blocks * 4))
    assert stats.waste == 0.0 and stats.num_running == 0
    assert (stats.mean_waste, stats.mean_memory_waste) == pytest.approx((empty / in_tables, empty / in_memory))


def test_logprobs_are_cut_to_what_each_request_asked_for():
    watcher = make_watcher()
    for request_id, num_top in enumerate((None, 0, 3, 1)):
        params = SamplingParams(temperature=0.0, ignore_eos=True, logprobs=num_top)
        watcher.add(make_request(request_id, [request_id + 1], 2, sampling_params=params))
    entries = {update.request_id: update.logprobs for update in watcher.step()}
    assert {request_id: len(logprobs) for request_id, logprobs in entries.items()} == {1: 1, 2: 1, 3: 1}
    assert [len(entries[request_id][0].top_token_ids) for request_id in (1, 2, 3)] == [0, 3, 1]
    assert entries[2][0].top_token_ids == (0, 1, 2) and entries[2][0].top_logprobs == (0.0, -1.0, -2.0)
    watcher.finish()


def test_missing_logprobs_are_our_bug():
    watcher = make_watcher()
    watcher.add(make_request(1, [1], 2, sampling_params=SamplingParams(temperature=0.0, logprobs=1)))
    plan = watcher.core.scheduler.schedule()
    output = watcher.core.executor.execute(plan).result()
    assert isinstance(output.logprobs, LogprobArrays)
    with pytest.raises(AssertionError, match="request 1 wants logprobs"):
        watcher.core.scheduler.update(plan, dataclasses.replace(output, logprobs=None))
