"""Whole engine on real checkpoints: constrained answers against brute force, and beside all that else can happen."""

from __future__ import annotations

import dataclasses
import itertools
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import regex
import torch
from support.core_engine import CoreEngine
from support.tiny_models import tiny_byte_model
from support.tiny_tokenizers import byte_level_backend
from transformers import AutoModelForCausalLM

from pagednb import LLM, SamplingParams
from pagednb.errors import OptionError
from pagednb.structured_output.compiler import GrammarCompiler

EOS = 1
# every prefix of a match goes on in more than one way, so that each spelling of it may come
REGEXES = ["[a-m]{3,9}", "(a|b)*c[0-9]{1,4}", "[x-z ]+[.!]?", "(very |quite )*[gG]ood"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tiny_byte_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def llm(folder: pathlib.Path) -> Iterator[LLM]:
    with LLM(folder, device="cpu", dtype="float32", max_model_len=300, max_num_seqs=4) as llm:
        yield llm


def brute_force(model: object, prompt: list[int], expression: str, max_tokens: int) -> list[int]:
    """The likeliest token of those after which the whole text can still match, by transformers and ``regex``."""
    backend, pattern = byte_level_backend(), regex.compile(expression)
    tokens: list[int] = []
    while len(tokens) < max_tokens and (not tokens or tokens[-1] != EOS):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + tokens])).logits[0, -1]  # type: ignore[operator]
        for token in logits.argsort(descending=True).tolist():
            text = backend.decode([*tokens, token], skip_special_tokens=False)
            is_end = token == EOS and pattern.fullmatch(backend.decode(tokens))
            if is_end or (token > EOS and pattern.fullmatch(text, partial=True)):
                tokens.append(token)
                break
        else:
            raise AssertionError("nothing fits")
    return tokens


@pytest.mark.parametrize("expression", REGEXES)
def test_greedy_answers_are_the_likeliest_that_match(llm: LLM, folder: pathlib.Path, expression: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    prompts = [[5, 9, 200, 17], [300, 42], list(range(10, 60))]
    params = SamplingParams(regex=expression, temperature=0, max_tokens=24)
    outputs = llm.generate([{"prompt_token_ids": prompt} for prompt in prompts], params, use_tqdm=False)
    for prompt, output in zip(prompts, outputs, strict=True):
        expected = brute_force(model, prompt, expression, 24)
        found = list(output.outputs[0].token_ids)
        # a forced text may be spelt in one way only
        assert found == expected or output.outputs[0].text == byte_level_backend().decode(expected)


@pytest.mark.parametrize("mode", ["recompute", "swap"])
@pytest.mark.parametrize("launch_ahead", [0, 1])
def test_rows_in_company_and_after_preemption_answer_as_alone(
    folder: pathlib.Path, launch_ahead: int, mode: str
) -> None:
    """Twelve constrained and plain requests and forks on a cache that cannot hold them all.

    Alone each samples all of its tokens one by one; together, those that are forced are appended in runs.
    """
    compiler = GrammarCompiler(byte_level_backend(), vocab_size=320, eos_token_ids=(EOS,))
    random = np.random.default_rng(0)
    prompts = [random.integers(2, 320, size=int(n)).tolist() for n in random.integers(3, 40, size=12)]
    kinds = [{}, {"schema": {"a": int, "b": str}}, {"regex": "[a-e ]{20,60}"}, {"choices": ["one of them", "other"]}]
    settings = [
        SamplingParams(**kinds[i % 4], seed=i, temperature=1.0, max_tokens=60, logprobs=2 if i % 3 == 0 else None)
        for i in range(12)
    ]
    settings[6] = SamplingParams(regex="[a-e ]{20,60}", temperature=1.3, top_k=3, top_p=0.9, min_p=0.1, max_tokens=60)

    def run(indexes: list[int], **options: Any) -> list[list[int]]:
        engine = CoreEngine(
            folder, launch_ahead=launch_ahead, block_size=16, max_model_len=128, decode_steps=4, **options
        )
        ids = []
        for index in indexes:
            grammar = settings[index].constraint and compiler.compile(settings[index].constraint)
            ids.append(engine.add(prompts[index], settings[index], grammar=grammar))
            if index % 2:
                ids.append(engine.add(prompts[index], settings[index], grammar=grammar, parent_id=ids[-1]))
        updates = engine.finish(ids)
        if len(indexes) > 1:
            assert engine.scheduler.stats().num_preemptions > 0
            assert (engine.scheduler.stats().num_blocks_swapped_in > 0) == (mode == "swap")
        return [update.output_token_ids.tolist() for update in updates]

    swap = {"swap_space": 0.01, "preemption_mode": mode}
    together = run(list(range(12)), num_gpu_blocks_override=14, max_num_seqs=8, **swap)
    by_itself = {"num_gpu_blocks_override": 60, "max_num_seqs": 2, "append_forced_tokens": False}
    alone = [tokens for index in range(12) for tokens in run([index], **by_itself)]
    assert together == alone
    texts = {index: byte_level_backend().decode(tokens) for index, tokens in enumerate(alone) if tokens[-1] == EOS}
    assert sum(text in ("one of them", "other") for text in texts.values()) >= 6


def test_samples_of_one_prompt_each_keep_the_constraint(llm: LLM) -> None:
    params = SamplingParams(schema={"kind": bool, "n": int}, n=6, seed=3, max_tokens=80)
    (output,) = llm.generate(["x"], params, use_tqdm=False)
    texts = [completion.text for completion in output.outputs]
    assert all(set(json.loads(text)) == {"kind", "n"} for text in texts)
    assert len(set(texts)) > 1


def test_stop_strings_and_logprobs_go_on_working(llm: LLM) -> None:
    params = SamplingParams(regex="[a-z]{4}END[a-z]{9}", stop=["END"], logprobs=3, seed=0, max_tokens=60)
    (output,) = llm.generate(["x"], params, use_tqdm=False)
    completion = output.outputs[0]
    assert regex.fullmatch("[a-z]{4}", completion.text) and completion.stop_reason == "END"
    assert completion.logprobs is not None and len(completion.logprobs) == len(completion.token_ids)
    # from the raw logits: the likeliest tokens need not be allowed
    assert any(token not in completion.token_ids for entry in completion.logprobs for token in entry)


@pytest.mark.parametrize("stop", [None, "forced", "in full, s", "[a-d]"])
def test_a_stream_tells_forced_runs_token_by_token_and_stops_within_them(llm: LLM, stop: str | None) -> None:
    expression = "[a-d]{3}: what follows is forced in full, sampled again: [a-d]{2}."
    params = SamplingParams(regex=expression, seed=5, max_tokens=120, stop=stop)
    seen = list(llm.engine.stream("x", params))
    texts = [output.outputs[0].text for output in seen]
    assert all(later.startswith(sooner) for sooner, later in itertools.pairwise(texts))
    last = seen[-1].outputs[0]
    (whole,) = llm.generate(["x"], dataclasses.replace(params, stop=None), use_tqdm=False)
    full = whole.outputs[0].text
    assert regex.fullmatch(expression, full) and last.text == (full.split(stop)[0] if stop else full)
    assert list(last.token_ids) == list(whole.outputs[0].token_ids)[: len(last.token_ids)]
    assert last.finish_reason == "stop" and last.stop_reason == (stop if stop and stop in full else None)


def test_the_first_token_is_constrained_too_and_tight_filters_leave_something(llm: LLM) -> None:
    for options in ({"top_k": 1}, {"top_p": 0.01}, {"min_p": 1.0}, {"temperature": 0.0}, {"temperature": 50.0}):
        params = SamplingParams(choices=["q", "z", "quit"], max_tokens=8, **options)
        for output in llm.generate(["a", "some longer prompt"], params, use_tqdm=False):
            assert output.outputs[0].text in ("q", "z", "quit")


def test_a_bias_cannot_bring_back_what_is_not_allowed(llm: LLM) -> None:
    token = byte_level_backend().token_to_id("w")
    params = SamplingParams(choices=["q", "z"], logit_bias={token: 100}, frequency_penalty=-2, max_tokens=4)
    assert llm.generate(["w"], params, use_tqdm=False)[0].outputs[0].text in ("q", "z")


def test_mistakes_raise_before_the_run(llm: LLM) -> None:
    with pytest.raises(OptionError, match="regex and grammar"):
        SamplingParams(regex="a", grammar="start: A")
    with (
        pytest.raises(OptionError, match="needs a tokenizer"),
        LLM(llm.engine.resolved.folder, device="cpu", skip_tokenizer_init=True, max_model_len=64) as bare,
    ):
        bare.generate([{"prompt_token_ids": [3]}], SamplingParams(regex="a"), use_tqdm=False)
    assert llm.generate(["x"], SamplingParams(regex="ab?"), use_tqdm=False)[0].outputs[0].text in ("a", "ab")


def test_a_constraint_starts_when_the_thinking_ends(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = llm.engine._codec
    assert codec is not None
    marks = {"<think>": 300, "</think>": 301}
    monkeypatch.setattr(codec, "_backend", _Renamed(codec._backend, marks))
    params = SamplingParams(regex="ab?", max_tokens=4)
    thinking = SamplingParams(regex="ab?c{3}", temperature=0, max_tokens=12, logit_bias={301: 50.0})
    (output,) = llm.generate([{"prompt_token_ids": [5, 300, 7]}], thinking, use_tqdm=False)
    tokens = list(output.outputs[0].token_ids)
    assert tokens[0] == 301 and regex.fullmatch("ab?c{3}", byte_level_backend().decode(tokens[1:]))
    free = SamplingParams(regex="ab?", temperature=1.0, seed=0, max_tokens=30)
    (output,) = llm.generate([{"prompt_token_ids": [5, 300, 7]}], free, use_tqdm=False)
    tokens = list(output.outputs[0].token_ids)
    assert EOS not in tokens[: tokens.index(301) if 301 in tokens else len(tokens)]
    # the model's thoughts begin in its own turn: a user who writes of <think> begins none
    for prompt in ([5, 300, 7, 301, 8], [5, 6], [5, 300, 7, EOS, 8]):
        assert llm.generate([{"prompt_token_ids": prompt}], params, use_tqdm=False)[0].outputs[0].text[0] == "a"


class _Renamed:
    """A tokenizer some of whose tokens have other names."""

    def __init__(self, backend: object, ids: dict[str, int]) -> None:
        self._backend, self._ids = backend, ids

    def token_to_id(self, text: str) -> int | None:
        return self._ids.get(text)

    def __getattr__(self, name: str) -> object:
        return getattr(self._backend, name)
