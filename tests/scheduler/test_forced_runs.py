"""Tokens that a grammar forces: computed in one go, without being sampled, and never more than a request may have."""

from __future__ import annotations

import numpy as np
import pytest
from support.fake_executor import EOS, VOCAB_SIZE
from support.fake_grammar import FakeGrammar
from support.traffic import Setting, Watcher, make_request

from pagednb.request import FinishReason, Request
from pagednb.sampling_params import SamplingParams

ANY = None
GREEDY = SamplingParams(temperature=0.0)


class Script(FakeGrammar):
    """What may come at each place of the output: a token, or anything but the end; then the end."""

    def __init__(self, *places: int | None) -> None:
        super().__init__(VOCAB_SIZE, eos=EOS, key=0)
        self._places = places

    def allowed(self, tokens: list[int]) -> np.ndarray:
        token = self._places[len(tokens)] if len(tokens) < len(self._places) else EOS
        return np.arange(VOCAB_SIZE) != EOS if token is ANY else np.arange(VOCAB_SIZE) == token


FORM = Script(7, 8, ANY, 9, 10, 11, ANY, 12)
"""Two tokens before anything is sampled, a run of three, a run of one, then the end."""


def request_of(grammar: FakeGrammar, request_id: int = 1, max_tokens: int = 20, **fields) -> Request:
    return make_request(request_id, [5, 6], max_tokens, **{"sampling_params": GREEDY, "grammar": grammar, **fields})


def watched(grammar: FakeGrammar = FORM, setting: Setting | None = None, **fields) -> tuple[Watcher, list[list[int]]]:
    """Run one request; return the watcher and how many tokens each step computed in chunks and sampled."""
    watcher = Watcher(setting or Setting())
    watcher.add(request_of(grammar, **fields))
    plans, execute = [], watcher.core.executor.execute

    def noted(plan):
        plans.append([*(len(chunk.token_ids) for chunk in plan.prefills), len(plan.sampled_rows)])
        return execute(plan)

    watcher.core.executor.execute = noted
    watcher.finish()
    return watcher, plans


def test_forced_tokens_come_with_the_prompt_and_with_the_token_before_them():
    watcher, plans = watched()
    assert len(watcher.final[1].output_token_ids) == 9 and watcher.final[1].finish_reason is FinishReason.STOP
    # prompt and two tokens; a sampled token and three; a sampled token and one; each with a sample after it
    assert plans == [[4, 1], [4, 1], [2, 1]]


def test_without_runs_every_token_is_sampled():
    watcher, plans = watched(setting=Setting(append_forced_tokens=False))
    assert plans == [[2, 1]] + [[1]] * 8
    assert len(watcher.final[1].output_token_ids) == 9


@pytest.mark.parametrize("max_tokens", range(1, 9))
def test_the_last_token_is_always_sampled(max_tokens: int):
    watcher, plans = watched(max_tokens=max_tokens)
    assert watcher.final[1].finish_reason is FinishReason.LENGTH
    assert len(watcher.final[1].output_token_ids) == max_tokens
    assert all(num_sampled == 1 for *_, num_sampled in plans)


def test_a_stop_token_in_a_run_is_sampled_and_ends_the_request():
    watcher, plans = watched(sampling_params=SamplingParams(temperature=0.0, stop_token_ids=[10, 12]))
    assert watcher.final[1].stop_token_id == 10
    assert len(watcher.final[1].output_token_ids) == 5 and plans == [[4, 1], [2, 1]]


@pytest.mark.parametrize("fields", [{"stream": True}, {"sampling_params": SamplingParams(temperature=0.0, stop="x")}])
def test_who_watches_hears_of_every_token_in_order(fields):
    _, plans = watched(**fields)  # the watcher compares what it was told with the output
    assert plans == [[2, 1], [2, 1], [4, 1], [2, 1]], "the first token is sampled, so that the first news come early"


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(temperature=0.0, logprobs=1),
        SamplingParams(temperature=0.0, frequency_penalty=0.5),
        SamplingParams(temperature=0.0, logit_bias={3: 1.0}),
        SamplingParams(temperature=0.0, min_tokens=2),
    ],
)
def test_rows_that_need_every_token_sampled_have_no_runs(params: SamplingParams):
    assert watched(sampling_params=params)[1] == [[2, 1]] + [[1]] * 8


def test_a_run_is_cut_to_the_budget_and_goes_on():
    setting = Setting(max_num_batched_tokens=3, max_num_seqs=2)
    watcher, plans = watched(setting=setting)
    assert plans == [[3, 0], [1, 1], [3, 0], [1, 1], [2, 1]]
    assert len(watcher.final[1].output_token_ids) == 9


def test_runs_share_the_budget_in_the_order_of_service():
    watcher = Watcher(Setting(max_num_batched_tokens=8, max_num_seqs=3))
    for request_id, priority in ((1, 5), (2, 0), (3, 1)):
        watcher.add(request_of(Script(ANY, *[9] * 5, ANY), request_id, priority=priority))
    chunks = []
    execute = watcher.core.executor.execute

    def noted(plan):
        owners = {row: request for request, row in watcher.core.scheduler._books.rows.row_of.items()}
        chunks.append([(owners[chunk.row], len(chunk.token_ids)) for chunk in plan.prefills])
        return execute(plan)

    watcher.core.executor.execute = noted
    watcher.finish()
    assert chunks[:4] == [[(2, 2), (3, 2), (1, 2)], [(2, 6), (3, 2)], [(3, 4), (1, 3)], [(1, 3)]]


def test_forks_share_the_prompt_of_a_parent_that_began_with_forced_tokens():
    watcher = Watcher(Setting())
    parent = make_request(1, [5, 6, 3, 4, 1, 2], 20, sampling_params=GREEDY, grammar=FORM)
    watcher.add(parent)
    for request_id in (2, 3):
        watcher.add(make_request(request_id, [5, 6, 3, 4, 1, 2], 20, parent_id=1, seed=request_id, grammar=FORM))
    watcher.finish()
    assert watcher.core.executor.num_copies == 2
    assert all(len(update.output_token_ids) == 9 for update in watcher.final.values())


def test_a_request_aborted_in_the_middle_of_a_run_keeps_what_is_known():
    watcher = Watcher(Setting(max_num_batched_tokens=3, max_num_seqs=2))
    watcher.add(request_of(FORM))
    for _ in range(3):
        watcher.step()
    assert watcher.core.scheduler._books.rows.has_run.any()
    watcher.abort([1])
    assert len(watcher.final[1].output_token_ids) == 6
    watcher.finish()


def test_only_prompt_tokens_count_as_cached():
    watcher = Watcher(Setting())
    for request_id in (1, 2):
        watcher.add(request_of(Script(*[7] * 8, ANY), request_id))
        watcher.finish()
    assert [watcher.final[request_id].num_cached_tokens for request_id in (1, 2)] == [0, 2]
