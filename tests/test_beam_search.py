"""Beam search: transformers' answers in transformers' order, and blocks that beams share."""

from __future__ import annotations

import itertools
import math
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from support.tiny_models import VOCAB_SIZE, tiny_model

import pagednb
from pagednb import LLM, BeamSearchParams
from pagednb.engine.beams import Beams
from pagednb.engine.core_service import CoreService
from pagednb.errors import ContextLengthError, NotSupportedYetError, OptionError

MAX_MODEL_LEN = 128
BLOCK_SIZE = 8
EOS = list(range(5, 125, 15))
PROMPT_LENGTHS = (1, 9, 30)


@pytest.fixture(scope="module", params=["llama2", "qwen3"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A model that doubts: no two answers are nearly as likely, and end tokens come up often."""
    folder = tmp_path_factory.mktemp(request.param)
    return tiny_model(request.param, folder, tokenizer=True, gain=1.5, eos_token_id=EOS)


@pytest.fixture(scope="module")
def llm(folder: pathlib.Path, best_device: str) -> Iterator[LLM]:
    options: dict[str, Any] = {"max_model_len": MAX_MODEL_LEN, "block_size": BLOCK_SIZE}
    with LLM(str(folder), device=best_device, dtype="float32", **options) as llm:
        yield llm
        llm.engine.check_integrity()
        assert llm.status().scheduler.num_used_blocks == 0


@pytest.fixture(scope="module")
def theirs(folder: pathlib.Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def make_prompts() -> list[list[int]]:
    generator = torch.Generator().manual_seed(6)
    return [torch.randint(30, VOCAB_SIZE, (n,), generator=generator).tolist() for n in PROMPT_LENGTHS]


def expected(model: Any, prompt: list[int], params: BeamSearchParams) -> list[tuple[list[int], float]]:
    """Return transformers' answers with their end tokens, and their scores."""
    ids = torch.tensor([prompt])
    out = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        num_beams=params.beam_width,
        num_return_sequences=params.beam_width,
        max_new_tokens=params.max_tokens,
        length_penalty=params.length_penalty,
        early_stopping=False,
        do_sample=False,
        eos_token_id=None if params.ignore_eos else EOS,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_scores=True,
    )
    answers = []
    for row, score in zip(out.sequences[:, len(prompt) :].tolist(), out.sequences_scores.tolist(), strict=True):
        end = next((i + 1 for i, token in enumerate(row) if token in EOS), len(row))
        answers.append((row if params.ignore_eos else row[:end], score))
    return answers


@pytest.mark.parametrize(
    ("width", "max_tokens", "length_penalty", "ignore_eos"),
    [(2, 8, 1.0, False), (3, 20, 1.0, False), (4, 12, 0.0, False), (5, 16, 2.0, False), (4, 10, 1.0, True)],
)
def test_equal_to_transformers(
    llm: LLM, theirs: Any, width: int, max_tokens: int, length_penalty: float, ignore_eos: bool
) -> None:
    params = BeamSearchParams(
        beam_width=width,
        max_tokens=max_tokens,
        length_penalty=length_penalty,
        ignore_eos=ignore_eos,
        include_stop_str_in_output=True,
    )
    prompts = make_prompts()
    reasons = set()
    for prompt, output in zip(prompts, llm.beam_search(prompts, params), strict=True):
        wanted = expected(theirs, prompt, params)
        assert [list(each.tokens[len(prompt) :]) for each in output.sequences] == [tokens for tokens, _ in wanted]
        np.testing.assert_allclose([each.score for each in output.sequences], [score for _, score in wanted], atol=1e-4)
        reasons |= {each.finish_reason for each in output.sequences}
        for each in output.sequences:
            assert each.cum_logprob == pytest.approx(sum(each.logprobs))
            assert each.text == llm.get_tokenizer().decode(each.tokens, skip_special_tokens=True)
    assert "stop" in reasons or ignore_eos or length_penalty > 1


def test_beams_share_blocks(llm: LLM) -> None:
    """All beams have the prompt's blocks, and those of what they have in common; each its last block alone."""
    prompt, width, max_tokens = make_prompts()[2] * 3, 4, 2 * BLOCK_SIZE
    used: list[int] = []

    def watch(service: CoreService) -> None:
        core: Any = service.core
        execute = core.executor.execute

        def counted(plan: Any) -> Any:
            used.append(core.scheduler.stats().num_used_blocks)
            return execute(plan)

        core.executor.execute = counted

    def unwatch(service: CoreService) -> None:
        del service.core.executor.execute

    llm.reset_prefix_cache()
    before = llm.status().tokens_in
    llm.engine._loop.call(watch)
    llm.beam_search([prompt], BeamSearchParams(beam_width=width, max_tokens=max_tokens, ignore_eos=True))
    llm.engine._loop.call(unwatch)
    num_prompt_blocks = len(prompt) // BLOCK_SIZE
    num_own = math.ceil((len(prompt) % BLOCK_SIZE + max_tokens) / BLOCK_SIZE)
    assert max(used) <= num_prompt_blocks + width * num_own < width * num_prompt_blocks
    # nobody computes more than its last, unfilled block
    assert llm.status().tokens_in - before <= len(prompt) + max_tokens * width * BLOCK_SIZE


def test_end_tokens_are_left_out_unless_asked_for(llm: LLM) -> None:
    options = {"beam_width": 3, "max_tokens": 20}
    (plain,) = llm.beam_search([[40, 50]], BeamSearchParams(**options))
    (full,) = llm.beam_search([[40, 50]], BeamSearchParams(**options, include_stop_str_in_output=True))
    for ours, whole in zip(plain.sequences, full.sequences, strict=True):
        has_ended = whole.finish_reason == "stop"
        assert ours.tokens == (whole.tokens[:-1] if has_ended else whole.tokens)
        assert ours.cum_logprob == pytest.approx(whole.cum_logprob, abs=1e-4)


def test_prompts_in_every_form_and_none_at_all(llm: LLM) -> None:
    params = BeamSearchParams(beam_width=2, max_tokens=4)
    (text,) = llm.beam_search("where is my order?", params)
    (ids,) = llm.beam_search({"prompt_token_ids": llm.get_tokenizer().encode("where is my order?")}, params)
    assert [each.tokens for each in text.sequences] == [each.tokens for each in ids.sequences]
    assert text.sequences[0].text.startswith("where is my order?")
    assert llm.beam_search([], params) == []
    (longest,) = llm.beam_search([[40] * 125], BeamSearchParams(beam_width=2, max_tokens=50, ignore_eos=True))
    assert [len(each.tokens) for each in longest.sequences] == [MAX_MODEL_LEN] * 2


def test_mistakes_are_refused(llm: LLM) -> None:
    with pytest.raises(OptionError, match="beam_width=18 is too wide for this model: at most 12"):
        llm.beam_search("a", BeamSearchParams(beam_width=18, max_tokens=4))
    with pytest.raises(ContextLengthError, match="leave room"):
        llm.beam_search([[40] * MAX_MODEL_LEN], BeamSearchParams(beam_width=2, max_tokens=4))
    with pytest.raises(OptionError, match=r"Give BeamSearchParams"):
        llm.beam_search("a", pagednb.SamplingParams())
    with pytest.raises(NotSupportedYetError, match="temperature above 0"):
        BeamSearchParams(beam_width=2, max_tokens=4, temperature=0.5)
    with pytest.raises(OptionError, match="Did you mean 'beam_width'"):
        BeamSearchParams(beam_with=2, max_tokens=4)
    wrong = {"beam_width": 0, "max_tokens": 2.5, "length_penalty": "x", "ignore_eos": 1, "temperature": -1}
    for name, value in wrong.items():
        with pytest.raises(OptionError, match=name):
            BeamSearchParams(**{"beam_width": 2, "max_tokens": 4, name: value})


def test_no_answer_is_missed_where_all_can_be_seen() -> None:
    """With beams as wide as the tree the search is exhaustive: the best of all answers comes first."""
    rng = np.random.default_rng(5)
    for _ in range(20):
        logprobs = {
            prefix: np.log(rng.dirichlet(np.ones(3))).tolist()
            for length in range(3)
            for prefix in itertools.product(range(3), repeat=length)
        }
        params = BeamSearchParams(beam_width=17, max_tokens=3, length_penalty=0.0)
        beams = Beams(params, max_tokens=3, eos_token_ids=[0])
        while beams.running:
            beams.advance([dict(enumerate(logprobs[beam.token_ids])) for beam in beams.running])
        answers = [each for n in (1, 2, 3) for each in itertools.product(range(3), repeat=n)]
        whole = [each for each in answers if 0 not in each[:-1] and (each[-1] == 0 or len(each) == 3)]
        best = max(whole, key=lambda each: sum(logprobs[each[:i]][token] for i, token in enumerate(each)))
        assert beams.ranked()[0].token_ids == best
