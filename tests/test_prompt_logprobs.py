"""``prompt_logprobs`` equal transformers' log-softmax, however prompts are cut, cached, shared and sent back."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from support.core_engine import CoreEngine
from support.tiny_models import VOCAB_SIZE, tiny_model

from pagednb import LLM, SamplingParams
from pagednb.kv_cache.prefix_cache import BlockHasher
from pagednb.request import PromptLogprobs, Request, RequestUpdate
from pagednb.runner import prompt_scoring

BLOCK_SIZE = 8
PROMPT_LENGTHS = (1, 2, 16, 17, 33, 48, 49, 64)
SCORED = SamplingParams(temperature=0, max_tokens=5, ignore_eos=True, prompt_logprobs=3)
PLAIN = dataclasses.replace(SCORED, prompt_logprobs=None)
SWAP = {"swap_space": 0.001, "preemption_mode": "swap"}
DISTURBANCES: dict[str, dict[str, Any]] = {
    "whole": {},
    "chunks of 7": {"max_num_batched_tokens": 7, "enable_prefix_caching": False},
    "chunks of 9, launch-ahead": {"max_num_batched_tokens": 9, "block_size": 4, "launch_ahead": 1},
    "preemption, launch-ahead": {"num_gpu_blocks_override": 24, "block_size": 4, "launch_ahead": 1, "decode_steps": 4},
    "preemption by swap": {"num_gpu_blocks_override": 24, "block_size": 4, "launch_ahead": 1, **SWAP},
}


@pytest.fixture(scope="module", params=["llama3.1", "opt"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tiny_model(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def theirs(folder: pathlib.Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def make_prompts() -> list[list[int]]:
    generator = torch.Generator().manual_seed(4)
    return [torch.randint(3, VOCAB_SIZE, (n,), generator=generator).tolist() for n in PROMPT_LENGTHS]


def joined(parts: Sequence[PromptLogprobs]) -> list[tuple[int, float, int, tuple[int, ...], tuple[float, ...]]]:
    return [
        (token_id, each.logprob, each.rank, each.top_token_ids, each.top_logprobs)
        for part in parts
        for token_id, each in part.entries()
    ]


def check(model: Any, prompt: Sequence[int], parts: Sequence[PromptLogprobs], *, num_top: int = 3) -> None:
    """Compare the scores of ``prompt`` with transformers'."""
    with torch.no_grad():
        expected = model(torch.tensor([prompt])).logits[0, :-1].log_softmax(dim=-1)
    entries = joined(parts)
    assert [entry[0] for entry in entries] == list(prompt[1:])
    for (token_id, logprob, rank, top_ids, top), row in zip(entries, expected, strict=True):
        np.testing.assert_allclose(logprob, row[token_id], atol=2e-4)
        np.testing.assert_allclose(top, row.topk(num_top).values, atol=2e-4)
        np.testing.assert_allclose(row[list(top_ids)], row.topk(num_top).values, atol=2e-4)
        assert abs(rank - 1 - int((row > row[token_id]).sum())) <= 1  # equal but for a near tie


@pytest.mark.parametrize("disturbance", DISTURBANCES)
def test_equal_to_transformers_whatever_else_is_in_the_batch(
    folder: pathlib.Path, theirs: Any, disturbance: str, monkeypatch: pytest.MonkeyPatch, best_device: str
) -> None:
    monkeypatch.setattr(prompt_scoring, "LOGITS_CHUNK_BYTES", 5 * VOCAB_SIZE * 4)
    prompts = make_prompts()
    params = [SCORED if k % 3 else PLAIN for k in range(len(prompts))]
    engine = CoreEngine(folder, device=best_device, max_model_len=96, **DISTURBANCES[disturbance])
    updates = engine.generate(prompts, params)
    for prompt, each, update in zip(prompts, params, updates, strict=True):
        if each is SCORED:
            check(theirs, prompt, update.prompt_logprobs)
        else:
            assert update.prompt_logprobs == ()
    assert (engine.scheduler.stats().num_preemptions > 0) == ("preemption" in disturbance)
    assert (engine.scheduler.stats().num_blocks_swapped_in > 0) == ("swap" in disturbance)
    silent = CoreEngine(folder, device=best_device, max_model_len=96).tokens(prompts, [PLAIN] * len(prompts))
    assert [update.output_token_ids.tolist() for update in updates] == silent


def scored_prompt(request: Request) -> Request:
    """Give a request the names of its blocks, as the input processor does."""
    digests: list[bytes] = []
    BlockHasher(BLOCK_SIZE).extend(digests, request.prompt_token_ids, b"")
    return dataclasses.replace(request, block_digests=tuple(digests))


def test_what_was_scored_once_is_not_computed_again(
    folder: pathlib.Path, theirs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = CoreEngine(folder, max_model_len=96, block_size=BLOCK_SIZE)
    add = engine.scheduler.add
    monkeypatch.setattr(engine.scheduler, "add", lambda request: add(scored_prompt(request)))

    def run(prompt: list[int], num_top: int | None) -> RequestUpdate:
        (update,) = engine.generate([prompt], [dataclasses.replace(SCORED, prompt_logprobs=num_top)])
        if num_top is not None:
            check(theirs, prompt, update.prompt_logprobs, num_top=num_top)
        return update

    prompt = make_prompts()[-1]  # of 8 whole blocks
    other = [*prompt[:43], *make_prompts()[4]]
    run(prompt, None)
    cached = [run(*each).num_cached_tokens for each in [(prompt, 3), (prompt, 2), (other, 3), (prompt, 5), (prompt, 5)]]
    # scores of k blocks spare k - 1 of them: the position before the first new score is computed; at the end of a
    # prompt nothing is left to score; more of the likeliest tokens must be looked at anew
    assert cached == [0, 56, 32, 0, 56]
    engine.scheduler.reset_prefix_cache()
    assert run(prompt, 3).num_cached_tokens == 0
    run(other, None)
    monkeypatch.setattr(engine.scheduler._books.scores, "_max_bytes", 0)
    run(other, 3)
    assert run(other, 3).num_cached_tokens == 0


def test_scores_outlive_blocks(folder: pathlib.Path, theirs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = CoreEngine(folder, max_model_len=96, block_size=BLOCK_SIZE)
    add = engine.scheduler.add
    monkeypatch.setattr(engine.scheduler, "add", lambda request: add(scored_prompt(request)))
    prompt = make_prompts()[-2]
    engine.generate([prompt], [SCORED])
    engine.scheduler._books.blocks.reset_prefix_cache()
    (update,) = engine.generate([prompt], [SCORED])
    assert update.num_cached_tokens == 0
    check(theirs, prompt, update.prompt_logprobs)


def test_the_logits_of_a_prompt_are_never_there_at_once(
    folder: pathlib.Path, theirs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt_scoring, "LOGITS_CHUNK_BYTES", 5 * VOCAB_SIZE * 4)
    engine = CoreEngine(folder, max_model_len=96)
    model, heights = engine.runner._parts.model, []
    compute_logits = model.compute_logits

    def watched(hidden: torch.Tensor) -> torch.Tensor:
        heights.append(len(hidden))
        return compute_logits(hidden)

    monkeypatch.setattr(model, "compute_logits", watched)
    engine.generate([make_prompts()[-1]], [SCORED])
    assert max(heights) == 5 and sum(heights) == 63 + SCORED.max_tokens


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory, best_device: str) -> Iterator[LLM]:
    folder = tiny_model("qwen3", tmp_path_factory.mktemp("llm"), tokenizer=True)
    with LLM(str(folder), device=best_device, dtype="float32", max_model_len=96, block_size=8) as llm:
        yield llm
        llm.engine.check_integrity()
        assert llm.status().scheduler.num_used_blocks == 0


def test_outputs_have_vllms_shape(llm: LLM) -> None:
    output = llm.generate("the quick brown fox", SCORED)[0]
    logprobs = output.prompt_logprobs
    assert logprobs is not None and logprobs[0] is None
    assert len(logprobs) == len(output.prompt_token_ids)
    for token_id, position in zip(output.prompt_token_ids[1:], logprobs[1:], strict=True):
        assert position is not None and 3 <= len(position) <= 4
        assert {1, 2, 3} <= {each.rank for each in position.values()}
        assert position[token_id].decoded_token == llm.get_tokenizer().decode([token_id])
    assert llm.generate("the quick brown fox", PLAIN)[0].prompt_logprobs is None
    assert llm.generate([[5]], SCORED)[0].prompt_logprobs == (None,)


def test_samples_and_streams_have_them_too(llm: LLM) -> None:
    expected = llm.generate("it was late, again!", SCORED)[0].prompt_logprobs
    several = dataclasses.replace(SCORED, n=4, temperature=1.5, seed=1)
    before = llm.status().tokens_in
    output = llm.generate("it was late, again!", several)[0]
    assert output.prompt_logprobs == expected
    assert llm.status().tokens_in - before <= len(output.prompt_token_ids) + 3  # forks compute one token each
    steps = list(llm.engine.stream("it was late, again!", SCORED))
    assert [step.prompt_logprobs for step in steps] == [expected] * len(steps)
    stopping = dataclasses.replace(SCORED, stop=[output.text[:1] or "x", "e"])
    assert llm.generate("it was late, again!", stopping)[0].prompt_logprobs == expected


def test_an_answer_whose_beginning_is_forced_comes_with_them(tmp_path: pathlib.Path) -> None:
    """Forced tokens are known with the prompt, but not its blocks' names beyond what may be shared: what has scores."""
    folder = tiny_model("llama3.1", tmp_path, tokenizer=True)
    params = SamplingParams(temperature=0, max_tokens=40, prompt_logprobs=1, regex="abcdefghijklmnopqrstuvwxyz[a-e]{3}")
    chunks = {"max_num_batched_tokens": 8, "max_num_seqs": 4, "block_size": 4}
    answers = []
    for options in ({}, chunks):
        with LLM(folder, device="cpu", max_model_len=96, **options) as llm:
            (output,) = llm.generate("the quick brown fox jumps", params, use_tqdm=False)
            answers.append((output.outputs[0].text, [[*entry] for entry in output.prompt_logprobs[1:]]))
            llm.engine.check_integrity()
    assert answers[0] == answers[1] and answers[0][0].startswith("abcdefghijklmnopqrstuvwxyz")
