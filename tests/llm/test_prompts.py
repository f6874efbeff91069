"""Prompts and parameters that ``LLM`` takes: their forms, chats, and those that are refused."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
from support.tiny_llm import GREEDY, MAX_MODEL_LEN, PROMPTS, one

from pagednb import LLM, SamplingParams, TextPrompt, TokensPrompt
from pagednb.errors import ContextLengthError, OptionError, PromptError


def test_every_form_of_a_prompt_is_the_same_prompt(llm: LLM) -> None:
    ids = llm.get_tokenizer().encode("where is my order?")
    forms: list[Any] = [
        "where is my order?",
        {"prompt": "where is my order?"},
        {"prompt_token_ids": ids},
        {"prompt": "shown only", "prompt_token_ids": tuple(ids)},
        ids,
        np.array(ids),
        TextPrompt(prompt="where is my order?"),
        TokensPrompt(prompt_token_ids=ids),
        {"prompt_token_ids": ids, "multi_modal_data": None},
    ]
    outputs = llm.generate(forms, GREEDY)
    assert len({output.outputs[0].token_ids for output in outputs}) == 1
    assert [output.prompt for output in outputs] == [
        *(forms[0], forms[0], None, "shown only", None, None, forms[0], None, None)
    ]
    for alone in (forms[0], forms[2], ids, np.array(ids)):
        assert llm.generate(alone, GREEDY)[0].outputs[0].token_ids == outputs[0].outputs[0].token_ids
    assert llm.generate([], GREEDY) == []


def test_each_prompt_may_have_its_own_parameters(llm: LLM) -> None:
    lengths = [1, 5, 3, 9]
    outputs = llm.generate(PROMPTS, [SamplingParams(max_tokens=n, ignore_eos=True) for n in lengths])
    assert [len(output.outputs[0].token_ids) for output in outputs] == lengths
    with pytest.raises(OptionError, match="4 prompts and 1 sampling parameters"):
        llm.generate(PROMPTS, [GREEDY])


@pytest.mark.parametrize("params", [{"temperature": 0}, "greedy", 5, [None], [{}]])
def test_parameters_of_another_type_are_refused(llm: LLM, params: Any) -> None:
    with pytest.raises(OptionError, match="SamplingParams"):
        llm.generate("a", params)


@pytest.mark.parametrize(
    ("prompt", "error", "words"),
    [
        ([], PromptError, None),
        ([[]], PromptError, "empty"),
        ({"prompt_token_ids": []}, PromptError, "empty"),
        ([[1, 99999]], PromptError, "99999"),
        ([[-1]], PromptError, "-1"),
        ([1.5], PromptError, "float"),
        ([[0.5, 1.0]], PromptError, "list"),
        ([None], PromptError, "NoneType"),
        (7, PromptError, "int"),
        (b"text", PromptError, "bytes"),
        (bytearray(b"text"), PromptError, "bytearray"),
        ({"text": "a"}, PromptError, "'text'"),
        ({"prompt": 3}, PromptError, "prompt"),
        ({"prompt": "a", "multi_modal_data": {"image": 1}}, PromptError, "multi_modal_data"),
        ("\ud800", PromptError, "Unicode"),
        ([[1] * MAX_MODEL_LEN], ContextLengthError, f"at most {MAX_MODEL_LEN - 1}"),
    ],
)
def test_a_prompt_that_cannot_run_says_why(llm: LLM, prompt: Any, error: type[Exception], words: str | None) -> None:
    if words is None:
        assert llm.generate(prompt, GREEDY) == []
        return
    with pytest.raises(error, match=words):
        llm.generate(prompt, GREEDY)


def test_a_bad_prompt_behind_good_ones_stops_them(llm: LLM) -> None:
    with pytest.raises(PromptError):
        llm.generate([*PROMPTS * 100, [-1]], GREEDY)


def test_parameters_outside_the_vocabulary_are_refused(llm: LLM) -> None:
    for params in (SamplingParams(stop_token_ids=[10**6]), SamplingParams(logit_bias={10**6: 1.0})):
        with pytest.raises(OptionError, match="1000000"):
            llm.generate("a", params)


def test_a_prompt_the_cache_can_never_hold_is_refused(folder: pathlib.Path) -> None:
    options: dict[str, Any] = {"device": "cpu", "max_model_len": MAX_MODEL_LEN, "block_size": 8}
    with LLM(str(folder), num_gpu_blocks_override=6, **options) as small:
        with pytest.raises(ContextLengthError, match="holds 48 in all"):
            small.generate([[5] * 41], SamplingParams(max_tokens=8))
        with pytest.raises(ContextLengthError, match="holds 48 in all"):
            small.generate([[5] * 48], SamplingParams(max_tokens=None))
        for max_tokens in (8, None):
            assert len(one(small, [5] * 40, SamplingParams(max_tokens=max_tokens, ignore_eos=True)).token_ids) == 8


def test_chat_is_the_template_and_nothing_more(llm: LLM) -> None:
    messages = [{"role": "user", "content": "where is my order?"}]
    expected = llm.get_tokenizer().apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    alone = llm.chat(messages, GREEDY)
    assert alone[0].prompt_token_ids == tuple(expected)
    assert alone[0].prompt == "<s><user>where is my order?\n<assistant>"
    several = llm.chat([messages, [{"role": "user", "content": "a"}]], GREEDY)
    assert len(several) == 2
    assert several[0].outputs[0].token_ids == alone[0].outputs[0].token_ids
    unfinished = llm.chat(messages, GREEDY, add_generation_prompt=False)
    assert unfinished[0].prompt == "<s><user>where is my order?\n"
    # text that begins with BOS, as a rendered template does, gets no second one
    assert llm.generate(alone[0].prompt, GREEDY)[0].prompt_token_ids == tuple(expected)


@pytest.mark.parametrize("messages", ["hello", [], [["hello"]], [{"content": "no role"}], {"role": "user"}, None, 5])
def test_malformed_messages_are_refused(llm: LLM, messages: Any) -> None:
    with pytest.raises(PromptError, match="malformed"):
        llm.chat(messages, GREEDY)


@pytest.mark.parametrize("content", [None, 5])
def test_content_that_the_template_cannot_take_is_refused(llm: LLM, content: Any) -> None:
    strict = "{{ '<user>' + messages[0]['content'] }}"
    with pytest.raises(PromptError, match="template"):
        llm.chat([{"role": "user", "content": content}], GREEDY, chat_template=strict)


def test_without_a_tokenizer_prompts_are_token_ids(folder: pathlib.Path) -> None:
    with LLM(str(folder), device="cpu", max_model_len=MAX_MODEL_LEN, skip_tokenizer_init=True) as llm:
        output = llm.generate({"prompt_token_ids": [5, 6]}, SamplingParams(max_tokens=3, ignore_eos=True, logprobs=1))[
            0
        ]
        assert output.text == ""
        assert len(output.outputs[0].token_ids) == 3
        for refused in (lambda: llm.generate("text", GREEDY), llm.get_tokenizer, lambda: llm.chat([])):
            with pytest.raises(OptionError, match="skip_tokenizer_init"):
                refused()
        with pytest.raises(OptionError, match="stop_token_ids"):
            llm.generate([[5]], SamplingParams(stop="x"))
