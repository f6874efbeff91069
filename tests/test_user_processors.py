"""``logits_processors``: the caller's own code, against loops over transformers' logits; what it raises is its own."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import transformers
from support.core_engine import CoreEngine, crowded_engine
from support.tiny_models import VOCAB_SIZE, tiny_model

from pagednb import LLM, SamplingParams

PROMPT = "the quick brown fox"
GREEDY = SamplingParams(temperature=0, max_tokens=16, ignore_eos=True)


def no_repeats(output: list[int], logits: torch.Tensor) -> torch.Tensor:
    """No token twice in an answer."""
    logits[output] = float("-inf")
    return logits


def not_of_the_prompt(prompt: list[int], output: list[int], logits: torch.Tensor) -> torch.Tensor:
    """No token of the prompt, and the even ones are less likely in the first half."""
    logits = logits.index_fill(0, torch.tensor(prompt, device=logits.device), float("-inf"))
    is_even = torch.arange(len(logits), device=logits.device) % 2 == 0
    return logits - is_even * (3.0 if len(output) < 8 else 0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tiny_model("qwen2", tmp_path_factory.mktemp("model"), tokenizer=True)


@pytest.fixture(scope="module")
def llm(folder: pathlib.Path, best_device: str) -> Iterator[LLM]:
    with LLM(str(folder), device=best_device, dtype="float32", max_model_len=96, block_size=8) as llm:
        yield llm
        llm.engine.check_integrity()
        assert llm.status().scheduler.num_used_blocks == 0


def expected_tokens(folder: pathlib.Path, prompt: list[int], num_tokens: int = 16) -> list[int]:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    output: list[int] = []
    for _ in range(num_tokens):
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *output]])).logits[0, -1]
        logits = not_of_the_prompt(prompt, output, no_repeats(output, logits))
        output.append(int(logits.argmax()))
    return output


def test_they_change_what_is_sampled(llm: LLM, folder: pathlib.Path) -> None:
    params = dataclasses.replace(GREEDY, logits_processors=[no_repeats, not_of_the_prompt])
    bound, free = llm.generate([PROMPT, PROMPT], [params, GREEDY])
    assert list(bound.outputs[0].token_ids) == expected_tokens(folder, list(bound.prompt_token_ids))
    assert free.outputs == llm.generate(PROMPT, GREEDY)[0].outputs
    several = dataclasses.replace(params, n=3, temperature=5.0, seed=1)
    for output in llm.generate(PROMPT, several)[0].outputs:
        assert len(set(output.token_ids)) == 16 and not {*output.token_ids} & {*bound.prompt_token_ids}


@pytest.mark.parametrize("launch_ahead", [0, 1])
def test_they_hold_in_any_batch(folder: pathlib.Path, launch_ahead: int, best_device: str) -> None:
    bound = dataclasses.replace(GREEDY, logits_processors=[no_repeats, not_of_the_prompt])
    prompts = [list(range(5, 5 + n)) for n in (3, 9, 17, 30)]
    engine = crowded_engine(folder, device=best_device, launch_ahead=launch_ahead)
    outputs = engine.tokens(prompts, [bound, GREEDY, bound, GREEDY])
    assert outputs[0::2] == [expected_tokens(folder, prompt) for prompt in prompts[0::2]]
    assert outputs[1::2] == CoreEngine(folder, device=best_device, max_model_len=96).tokens(prompts[1::2], [GREEDY] * 2)


def test_logprobs_are_those_before_them(llm: LLM) -> None:
    def only(output: list[int], logits: torch.Tensor) -> torch.Tensor:
        return torch.full_like(logits, float("-inf")).index_fill(0, torch.tensor([7], device=logits.device), 0.0)

    output = llm.generate(PROMPT, dataclasses.replace(GREEDY, logits_processors=[only], logprobs=1))[0].outputs[0]
    assert output.token_ids == (7,) * 16
    plain = llm.generate(PROMPT, dataclasses.replace(GREEDY, logprob_token_ids=[7]))[0].outputs[0]
    assert output.logprobs and plain.logprobs
    assert output.logprobs[0][7].logprob == pytest.approx(plain.logprobs[0][7].logprob, abs=1e-5)


def raises(when: int, output: list[int], logits: torch.Tensor) -> torch.Tensor:
    if len(output) == when:
        raise LookupError("no such word")
    return logits


def wrong_shape(output: list[int], logits: torch.Tensor) -> torch.Tensor:
    return logits[:5]


def nothing(output: list[int], logits: torch.Tensor) -> None:
    """Forgets to return."""


@pytest.mark.parametrize(
    ("processor", "num_tokens", "words"),
    [
        (functools.partial(raises, 0), 0, "LookupError: no such word"),
        (functools.partial(raises, 5), 5, "LookupError: no such word"),
        (wrong_shape, 0, f"must return a tensor of shape \\({VOCAB_SIZE},\\), not \\(5,\\)"),
        (nothing, 0, "not NoneType"),
    ],
)
def test_what_one_raises_ends_its_own_answer(llm: LLM, processor: Any, num_tokens: int, words: str) -> None:
    expected = llm.generate([PROMPT] * 2, GREEDY)
    failing = dataclasses.replace(GREEDY, logits_processors=[processor])
    outputs = llm.generate([PROMPT] * 3, [GREEDY, failing, GREEDY])
    assert [each.outputs for each in outputs[::2]] == [each.outputs for each in expected]
    failed = outputs[1].outputs[0]
    assert (failed.finish_reason, failed.token_ids) == ("abort", expected[0].outputs[0].token_ids[:num_tokens])
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(failed.stop_reason)
    assert llm.generate(PROMPT, GREEDY)[0].outputs == expected[0].outputs


def test_one_of_several_samples_may_fail(llm: LLM) -> None:
    def fails_on_odd(output: list[int], logits: torch.Tensor) -> torch.Tensor:
        assert not output or output[0] % 2 == 0, "odd"
        return logits

    params = SamplingParams(
        n=8, temperature=20.0, seed=3, max_tokens=5, ignore_eos=True, logits_processors=[fails_on_odd]
    )
    outputs = llm.generate(PROMPT, params)[0].outputs
    assert {(each.token_ids[0] % 2, each.finish_reason) for each in outputs} == {(0, "length"), (1, "abort")}
