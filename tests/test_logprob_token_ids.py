"""``logprob_token_ids``: logprobs of named tokens equal transformers' log-softmax, however the work is cut."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import transformers
from support.core_engine import CoreEngine
from support.tiny_models import VOCAB_SIZE, tiny_model

from pagednb import LLM, SamplingParams
from pagednb.errors import OptionError
from pagednb.request import TokenLogprobs
from pagednb.sampling.named_tokens import NamedTokens
from pagednb.sampling_checks import MAX_LOGPROB_TOKEN_IDS

NEW_TOKENS = 6
PROMPT_LENGTHS = (1, 7, 16, 33, 40, 41, 50, 64)
NAMED = (5, 17, 125, 3, 9)
BIASES = {5: -100.0, 9: 4.0}  # the logprobs are those before it
PARAMS = [
    SamplingParams(temperature=0.0, logprob_token_ids=NAMED),
    SamplingParams(temperature=1.0),
    SamplingParams(temperature=0.9, top_k=7, logprob_token_ids=[0]),
    SamplingParams(temperature=0.0, logprobs=2),
    SamplingParams(temperature=1.0, logprob_token_ids=NAMED, logit_bias=BIASES, repetition_penalty=1.5),
    SamplingParams(temperature=0.7, logprob_token_ids=tuple(range(64))),
    SamplingParams(temperature=0.0),
    SamplingParams(temperature=1.3, min_p=0.05, logprob_token_ids=(7, 7, VOCAB_SIZE - 1)),
]
PARAMS = [dataclasses.replace(each, max_tokens=NEW_TOKENS, ignore_eos=True) for each in PARAMS]
PLAIN_AND_NAMED = [each for each in PARAMS if each.logprobs is None and each.logit_bias is None]
DISTURBANCES = {
    "whole": {},
    "chunks of 7": {"max_num_batched_tokens": 7, "enable_prefix_caching": False},
    "chunks of 9, launch-ahead": {"max_num_batched_tokens": 9, "block_size": 4, "launch_ahead": 1},
    "preemption, launch-ahead": {"num_gpu_blocks_override": 20, "block_size": 4, "launch_ahead": 1, "decode_steps": 4},
}


@pytest.fixture(scope="module", params=["llama3.1", "qwen3", "gpt2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tiny_model(request.param, tmp_path_factory.mktemp(request.param))


def make_prompts() -> list[list[int]]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(3, VOCAB_SIZE, (n,), generator=generator).tolist() for n in PROMPT_LENGTHS]


def run(
    engine: CoreEngine, prompts: list[list[int]], params: list[SamplingParams]
) -> list[tuple[list[int], list[TokenLogprobs]]]:
    """Return the tokens and logprobs of each request."""
    ids = [engine.add(*pair) for pair in zip(prompts, params, strict=True)]
    entries: dict[int, list[TokenLogprobs]] = {request_id: [] for request_id in ids}
    tokens: dict[int, list[int]] = {}
    while len(tokens) < len(ids):
        for update in engine.core.step():
            entries[update.request_id] += update.logprobs
            if update.finish_reason is not None:
                tokens[update.request_id] = update.output_token_ids.tolist()
    return [(tokens[request_id], entries[request_id]) for request_id in ids]


@pytest.mark.parametrize("disturbance", DISTURBANCES)
def test_equal_to_transformers_whatever_else_is_in_the_batch(folder: pathlib.Path, disturbance: str) -> None:
    prompts = make_prompts()
    engine = CoreEngine(folder, max_model_len=96, **DISTURBANCES[disturbance])
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    for prompt, params, (tokens, entries) in zip(prompts, PARAMS, run(engine, prompts, PARAMS), strict=True):
        assert len(entries) == (0 if params.num_logprobs is None else NEW_TOKENS)
        with torch.no_grad():
            logits = model(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
        expected = logits.log_softmax(dim=-1)
        for token_id, entry, row in zip(tokens, entries, expected, strict=False):
            if params.logprob_token_ids is not None:
                assert entry.top_token_ids == params.logprob_token_ids
            np.testing.assert_allclose(entry.top_logprobs, row[list(entry.top_token_ids)], atol=2e-4)
            np.testing.assert_allclose(entry.logprob, row[token_id], atol=2e-4)
            assert abs(entry.rank - 1 - int((row > row[token_id]).sum())) <= 1  # equal but for a near tie
    assert (engine.scheduler.stats().num_preemptions > 0) == ("preemption" in disturbance)


def test_asking_changes_no_token(folder: pathlib.Path) -> None:
    prompts = make_prompts()
    silent = [dataclasses.replace(each, logprobs=None, logprob_token_ids=None) for each in PARAMS]
    asked = run(CoreEngine(folder, max_model_len=96), prompts, PARAMS)
    assert [tokens for tokens, _ in asked] == CoreEngine(folder, max_model_len=96).tokens(prompts, silent)


def test_logits_that_nobody_changes_are_not_copied(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    keep = NamedTokens.keep

    def watched(self, logits, rows, *, is_final):
        seen.append(is_final)
        return keep(self, logits, rows, is_final=is_final)

    monkeypatch.setattr(NamedTokens, "keep", watched)
    prompts = make_prompts()[: len(PLAIN_AND_NAMED)]
    run(CoreEngine(folder, max_model_len=96), prompts, PLAIN_AND_NAMED)
    assert seen and all(seen)
    run(CoreEngine(folder, max_model_len=96), make_prompts(), PARAMS)
    assert not all(seen)


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLM]:
    folder = tiny_model("llama2", tmp_path_factory.mktemp("llm"), tokenizer=True)
    with LLM(str(folder), device="cpu", dtype="float32", max_model_len=96, seed=3) as llm:
        yield llm


def test_outputs_hold_exactly_the_chosen_and_the_named_tokens(llm: LLM) -> None:
    params = SamplingParams(temperature=0, max_tokens=4, ignore_eos=True, logprob_token_ids=NAMED)
    top = SamplingParams(temperature=0, max_tokens=4, ignore_eos=True, logprobs=20)
    named, likeliest = (llm.generate("the quick brown fox", each)[0].outputs[0] for each in (params, top))
    assert named.token_ids == likeliest.token_ids
    assert named.cumulative_logprob == pytest.approx(likeliest.cumulative_logprob)
    for token_id, ours, theirs in zip(named.token_ids, named.logprobs or (), likeliest.logprobs or (), strict=True):
        assert ours.keys() == {token_id, *NAMED}
        assert ours[token_id].rank == 1
        assert all(ours[i].rank is None for i in NAMED if i != token_id)
        assert all(one.decoded_token == llm.get_tokenizer().decode([i]) for i, one in ours.items())
        for i in ours.keys() & theirs.keys():
            assert ours[i].logprob == pytest.approx(theirs[i].logprob, abs=1e-5)


def test_every_sample_of_a_prompt_brings_them(llm: LLM) -> None:
    params = SamplingParams(n=3, temperature=2.0, seed=1, max_tokens=1, ignore_eos=True, logprob_token_ids=NAMED)
    outputs = llm.generate("where is my order?", params)[0].outputs
    first = [{i: each.logprobs[0][i].logprob for i in NAMED} for each in outputs if each.logprobs]
    assert len(first) == 3
    assert first[1] == pytest.approx(first[0]) and first[2] == pytest.approx(first[0])


def test_constraints_come_after(llm: LLM) -> None:
    free = SamplingParams(temperature=0, max_tokens=1, ignore_eos=True, logprob_token_ids=NAMED)
    bound = SamplingParams(temperature=0, max_tokens=1, choices=["yes", "no"], logprob_token_ids=NAMED)
    free_output, bound_output = (each.outputs[0] for each in llm.generate(["a", "a"], [free, bound]))
    assert free_output.token_ids != bound_output.token_ids
    for i in NAMED:
        assert bound_output.logprobs[0][i].logprob == pytest.approx(free_output.logprobs[0][i].logprob, abs=1e-5)


def test_they_end_where_a_stop_string_ends_the_answer(llm: LLM) -> None:
    greedy = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
    text = llm.generate("a", greedy)[0].text
    stopped = dataclasses.replace(greedy, stop=[text[3:5]], logprob_token_ids=NAMED)
    output = llm.generate("a", stopped)[0].outputs[0]
    assert output.finish_reason == "stop" and len(output.logprobs or ()) == len(output.token_ids) < 12


def test_tokens_outside_the_vocabulary_are_refused(llm: LLM) -> None:
    with pytest.raises(OptionError, match=f"logprob_token_ids has token id {VOCAB_SIZE}"):
        llm.generate("a", SamplingParams(logprob_token_ids=[1, VOCAB_SIZE]))


def test_both_kinds_at_once_are_refused() -> None:
    with pytest.raises(OptionError, match="one of them says"):
        SamplingParams(logprobs=1, logprob_token_ids=[1])
    params = SamplingParams(logprob_token_ids=np.arange(MAX_LOGPROB_TOKEN_IDS))
    assert params.logprob_token_ids == tuple(range(64)) and params.num_logprobs == 64
