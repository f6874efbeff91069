"""Tokens that are ruled out, prompts that are cut, the best of several: against loops over transformers' logits."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from support.core_engine import CoreEngine, crowded_engine
from support.tiny_models import VOCAB_SIZE, tiny_model

from pagednb import LLM, SamplingParams
from pagednb.errors import OptionError
from pagednb.structured_output.token_rules import TokenRules

MAX_MODEL_LEN = 96
PROMPT = "the quick brown fox"
GREEDY = SamplingParams(temperature=0, max_tokens=24, ignore_eos=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tiny_model("llama3.2", tmp_path_factory.mktemp("model"), tokenizer=True)


@pytest.fixture(scope="module")
def llm(folder: pathlib.Path, best_device: str) -> Iterator[LLM]:
    with LLM(str(folder), device=best_device, dtype="float32", max_model_len=MAX_MODEL_LEN, block_size=8) as llm:
        yield llm
        llm.engine.check_integrity()
        assert llm.status().scheduler.num_used_blocks == 0


@pytest.fixture(scope="module")
def theirs(folder: pathlib.Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def greedy_loop(
    model: Any, prompt: Sequence[int], num_tokens: int, ruled_out: Callable[[list[int]], Sequence[int]]
) -> list[int]:
    """Decode with transformers; ``ruled_out`` says which tokens may not follow an output."""
    output: list[int] = []
    for _ in range(num_tokens):
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *output]])).logits[0, -1]
        logits[list(ruled_out(output))] = float("-inf")
        output.append(int(logits.argmax()))
    return output


def test_only_allowed_tokens_are_sampled(llm: LLM, theirs: Any) -> None:
    allowed = [7, 9, 30, 31, 77, 128, 130]
    others = [i for i in range(VOCAB_SIZE) if i not in allowed]
    output = llm.generate(PROMPT, dataclasses.replace(GREEDY, allowed_token_ids=allowed))[0]
    expected = greedy_loop(theirs, output.prompt_token_ids, 24, lambda _: others)
    assert list(output.outputs[0].token_ids) == expected
    drawn = llm.generate([PROMPT] * 3, SamplingParams(temperature=2.0, max_tokens=30, n=3, allowed_token_ids=allowed))
    assert {i for each in drawn for one in each.outputs for i in one.token_ids} <= {*allowed}


def test_bad_words_are_never_said(llm: LLM, theirs: Any) -> None:
    free = llm.generate(PROMPT, GREEDY)[0]
    tokens, tokenizer = free.outputs[0].token_ids, llm.get_tokenizer()
    texts = [tokenizer.decode([i]) for i in tokens]
    chosen = [k for k in range(len(texts) - 2) if "".join(texts[k : k + 3]).strip().isascii()]
    words = ["".join(texts[k : k + 3]).strip() for k in chosen] + [texts[0].strip() or "x"]
    banned = [tokenizer.encode(text, add_special_tokens=False) for word in words if word for text in (word, f" {word}")]

    def ruled_out(output: list[int]) -> list[int]:
        return [ids[-1] for ids in banned if len(ids) == 1 or output[-len(ids) + 1 :] == ids[:-1]]

    params = dataclasses.replace(GREEDY, bad_words=[word for word in words if word])
    output = llm.generate(PROMPT, params)[0]
    assert list(output.outputs[0].token_ids) == greedy_loop(theirs, output.prompt_token_ids, 24, ruled_out)
    assert output.outputs[0].token_ids != tokens
    assert any(len(ids) > 2 for ids in banned)


def test_rules_narrow_a_constraint(llm: LLM) -> None:
    choices = ["yes", "no", "never"]
    params = SamplingParams(temperature=100.0, max_tokens=12, choices=choices, n=12, seed=1)
    assert {each.text for each in llm.generate(PROMPT, params)[0].outputs} == {*choices}
    narrowed = dataclasses.replace(params, bad_words=["yes", "ye", "y"])
    assert {each.text for each in llm.generate(PROMPT, narrowed)[0].outputs} == {"no", "never"}


def test_what_leaves_no_token_ends_that_request_only(llm: LLM) -> None:
    nothing = SamplingParams(choices=["yes"], allowed_token_ids=[5])
    failed, fine = llm.generate([PROMPT, PROMPT], [nothing, GREEDY])
    assert failed.outputs[0].finish_reason == "abort"
    assert str(failed.outputs[0].stop_reason).startswith("The answer cannot go on: its constraint")
    assert fine.outputs == llm.generate(PROMPT, GREEDY)[0].outputs


@pytest.mark.parametrize("launch_ahead", [0, 1])
def test_rules_hold_whatever_else_is_in_the_batch(folder: pathlib.Path, launch_ahead: int, best_device: str) -> None:
    rules = TokenRules(VOCAB_SIZE, allowed=range(10, 60), banned=[[12], [20, 21], [500, 1]])
    prompts = [[5, 6, 7, 8] * k for k in (1, 3, 5, 9)]
    params = SamplingParams(temperature=1.5, max_tokens=30, ignore_eos=True)
    engine = crowded_engine(folder, device=best_device, launch_ahead=launch_ahead)
    ids = [engine.add(prompt, params, token_rules=rules if k % 2 else None) for k, prompt in enumerate(prompts)]
    outputs = [update.output_token_ids.tolist() for update in engine.finish(ids)]
    for output in outputs[1::2]:
        assert {*output} <= {*range(10, 60)} - {12}
        assert all(pair != (20, 21) for pair in itertools.pairwise(output))
    assert any({*output} - {*range(10, 60)} for output in outputs[0::2])
    alone = CoreEngine(folder, device=best_device, max_model_len=96)
    for prompt, output, bound in zip(prompts, outputs, (False, True, False, True), strict=True):
        (update,) = alone.finish([alone.add(prompt, params, token_rules=rules if bound else None)])
        assert update.output_token_ids.tolist() == output


def test_rules_are_sets_of_bits() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        size = int(rng.integers(1, 100))
        allowed = rng.integers(0, size, 9).tolist() if rng.random() < 0.5 else None
        banned = [rng.integers(0, size + 3, int(rng.integers(1, 4))).tolist() for _ in range(5)]
        output = rng.integers(0, min(size, 3), 6).astype(np.int32)
        start = rng.random(size) < 0.7
        expected = {i for i in range(size) if start[i] and (allowed is None or i in allowed)}
        expected -= {
            s[-1] for s in banned if max(s) < size and (len(s) == 1 or output[1 - len(s) :].tolist() == s[:-1])
        }
        words = np.zeros(-(-size // 32), dtype=np.int32)
        for i in np.flatnonzero(start).tolist():
            words[i // 32] |= np.uint32(1 << i % 32).view(np.int32)
        is_left = TokenRules(size, allowed=allowed, banned=banned).narrow(words, output)
        assert {i for i in range(32 * len(words)) if words[i // 32] >> i % 32 & 1} == expected
        assert is_left == bool(expected)


def test_the_last_tokens_of_a_prompt_are_kept(llm: LLM) -> None:
    ids = list(range(10, 60))
    for keep in (1, 7, 50, 99):
        output = llm.generate([ids], dataclasses.replace(GREEDY, truncate_prompt_tokens=keep))[0]
        assert output.prompt_token_ids == tuple(ids[-keep:])
        assert output.outputs == llm.generate([ids[-keep:]], GREEDY)[0].outputs
    text = "where is my order? " * 30
    output = llm.generate(text, dataclasses.replace(GREEDY, truncate_prompt_tokens=-1))[0]
    assert len(output.prompt_token_ids) == MAX_MODEL_LEN - 24 and output.prompt == text
    assert output.prompt_token_ids == tuple(llm.get_tokenizer().encode(text)[-72:])
    with pytest.raises(OptionError, match="truncate_prompt_tokens"):
        SamplingParams(truncate_prompt_tokens=0)


def test_best_of_returns_the_most_likely(llm: LLM) -> None:
    all_of_them = SamplingParams(n=8, temperature=1.5, seed=5, max_tokens=6, ignore_eos=True, logprobs=0)
    drawn = llm.generate(PROMPT, all_of_them)[0].outputs
    best = sorted(drawn, key=lambda each: -(each.cumulative_logprob or 0.0))[:3]
    chosen = llm.generate(PROMPT, dataclasses.replace(all_of_them, n=3, best_of=8, logprobs=None))[0].outputs
    assert [each.token_ids for each in chosen] == [each.token_ids for each in best]
    likelihoods = [each.cumulative_logprob for each in best]  # of other batches, so rounded differently
    assert [each.cumulative_logprob for each in chosen] == pytest.approx(likelihoods, abs=1e-4)
    assert [each.index for each in chosen] == [0, 1, 2] and chosen[0].logprobs is None
    named = dataclasses.replace(all_of_them, n=1, best_of=8, logprobs=None, logprob_token_ids=[5])
    assert llm.generate(PROMPT, named)[0].outputs[0].token_ids == best[0].token_ids
    streamed = list(llm.engine.stream(PROMPT, dataclasses.replace(all_of_them, n=1, best_of=8)))
    assert len(streamed) == 1 and streamed[0].outputs[0].token_ids == best[0].token_ids


def test_best_of_shares_the_prompt(llm: LLM) -> None:
    before = llm.status().tokens_in
    llm.reset_prefix_cache()
    llm.generate([list(range(20, 60))], SamplingParams(best_of=6, max_tokens=3, ignore_eos=True))
    assert llm.status().tokens_in - before <= 40 + 5  # each fork computes the prompt's last token again


def test_rules_that_the_model_cannot_follow_are_refused(llm: LLM, folder: pathlib.Path) -> None:
    with pytest.raises(OptionError, match=f"allowed_token_ids has token id {VOCAB_SIZE}"):
        llm.generate(PROMPT, SamplingParams(allowed_token_ids=[VOCAB_SIZE]))
    eos = llm.engine.resolved.eos_token_ids[0]
    word = llm.get_tokenizer().encode("a", add_special_tokens=False)
    for params in (
        SamplingParams(allowed_token_ids=[eos], min_tokens=1),
        SamplingParams(allowed_token_ids=[eos, 7], stop_token_ids=[7], min_tokens=1, ignore_eos=True),
        SamplingParams(allowed_token_ids=word, bad_words=["a"]),
    ):
        with pytest.raises(OptionError, match="leave no token"):
            llm.generate(PROMPT, params)
    assert llm.generate(PROMPT, SamplingParams(allowed_token_ids=[eos]))[0].outputs[0].token_ids == (eos,)
    with LLM(str(folder), device="cpu", max_model_len=32, skip_tokenizer_init=True) as bare:
        with pytest.raises(OptionError, match="bad_words need a tokenizer"):
            bare.generate([[5]], SamplingParams(bad_words=["x"]))
        output = bare.generate([[5]], SamplingParams(allowed_token_ids=[9], max_tokens=3))[0]
        assert output.outputs[0].token_ids == (9, 9, 9)
