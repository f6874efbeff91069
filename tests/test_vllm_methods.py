"""Arguments of vLLM's methods: followed, passed over where they ask for nothing, or refused with what to do instead."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from support.tiny_models import tiny_model

from pagednb import LLM, BeamSearchParams, SamplingParams
from pagednb.errors import NotSupportedYetError, OptionError, PromptError
from pagednb.vllm_methods import ARGUMENTS_NOT_BUILT_YET

GREEDY = SamplingParams(temperature=0, max_tokens=4, ignore_eos=True)
BEAMS = BeamSearchParams(beam_width=2, max_tokens=2)
MESSAGES = [{"role": "user", "content": "where is my order?"}]
WITH_TOOLS = (
    "{% if loud %}!{% endif %}{{ tools | tojson }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
)
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLM]:
    folder: pathlib.Path = tmp_path_factory.mktemp("model")
    with LLM(str(tiny_model("llama2", folder, tokenizer=True)), device="cpu", num_gpu_blocks_override=200) as llm:
        yield llm


@pytest.fixture(autouse=True)
def no_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGEDNB_PROGRESS", "0")


CALLS: dict[str, tuple[Any, ...]] = {
    "generate": ("a", GREEDY),
    "chat": (MESSAGES, GREEDY),
    "beam_search": ("a", BEAMS),
    "embed": ("a",),
    "encode": ("a",),
    "score": ("a", "b"),
}


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("name", sorted(ARGUMENTS_NOT_BUILT_YET))
def test_arguments_of_vllm_pass_where_they_ask_for_nothing(llm: LLM, method: str, name: str) -> None:
    for value in ARGUMENTS_NOT_BUILT_YET[name].passes:
        assert len(getattr(llm, method)(*CALLS[method], **{name: value})) == 1
    if name == "use_tqdm":
        return
    with pytest.raises(NotSupportedYetError, match=f"{name}=.* is not built yet") as raised:
        getattr(llm, method)(*CALLS[method], **{name: object()})
    assert raised.value.hint


@pytest.mark.parametrize("method", CALLS)
def test_arguments_that_nobody_has_are_refused(llm: LLM, method: str) -> None:
    with pytest.raises(OptionError, match="has no option 'samplng'"):
        getattr(llm, method)(*CALLS[method], samplng=1)


def test_a_score_has_no_length_to_choose(llm: LLM) -> None:
    with pytest.raises(OptionError, match="normalize"):
        llm.score("a", "b", normalize=False)
    assert len(llm.score("a b c", ["b", "c"], truncate_prompt_tokens=1)[0].prompt_token_ids) == 2


def test_encoded_texts_are_tensors_too(llm: LLM) -> None:
    outputs = llm.encode(["a", "b"], pooling_task="embed")[1].outputs
    assert torch.equal(outputs.data, torch.tensor(outputs.embedding))


def prompt_of(llm: LLM, *args: Any, **options: Any) -> str | None:
    return llm.chat(*args, sampling_params=GREEDY, **options)[0].prompt


def test_a_message_may_have_its_text_in_parts(llm: LLM) -> None:
    parts = [{"type": "text", "text": "where is"}, "it?"]
    for messages in ([{"role": "user", "content": parts}], [[{"role": "user", "content": parts}]]):
        assert prompt_of(llm, messages) == "<s><user>where is\nit?\n<assistant>"
    picture = {"type": "image_url", "image_url": {"url": "https://a.b/c.png"}}
    with pytest.raises(PromptError, match=r"part of type 'image_url'.*pictures"):
        llm.chat([{"role": "user", "content": [picture]}], GREEDY)


def test_the_final_message_may_be_gone_on_with(llm: LLM) -> None:
    messages = [*MESSAGES, {"role": "assistant", "content": "it was"}]
    prompt = prompt_of(llm, messages, add_generation_prompt=False, continue_final_message=True)
    assert prompt == "<s><user>where is my order?\n<assistant>it was"
    with pytest.raises(OptionError, match="Give add_generation_prompt=False"):
        llm.chat(messages, GREEDY, continue_final_message=True)


def test_another_template_and_its_tools(llm: LLM) -> None:
    assert prompt_of(llm, MESSAGES, chat_template="{{ messages[0].content }}") == "where is my order?"
    prompt = prompt_of(llm, MESSAGES, chat_template=WITH_TOOLS, tools=TOOLS, chat_template_kwargs={"loud": True})
    assert prompt is not None
    assert prompt.startswith("![{")
    assert '"name": "f"' in prompt
    called = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": '{"a": 1}'}}]}
    shown = "{{ messages[1].tool_calls[0].function.arguments.a }}"
    assert prompt_of(llm, [*MESSAGES, called], chat_template=shown) == "1"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"tools": TOOLS}, "does not read tools. Describe them"),
        ({"tools": "f"}, "tools='f'"),
        ({"chat_template_kwargs": {"enable_thinking": False}}, "does not read 'enable_thinking'. It reads: none"),
        ({"chat_template_kwargs": {"tokenize": True}}, "does not read 'tokenize'"),
        ({"chat_template_kwargs": ["loud"]}, "chat_template_kwargs="),
        ({"chat_template": 5}, "chat_template=5"),
        ({"add_generation_prompt": "no"}, "add_generation_prompt='no'"),
        ({"continue_final_message": 1}, "continue_final_message=1"),
    ],
)
def test_what_a_chat_template_would_not_heed_is_refused(llm: LLM, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(OptionError, match=expected):
        llm.chat(MESSAGES, GREEDY, **options)


@pytest.mark.parametrize("tags", [5, "weights"])
def test_waking_in_parts_that_are_no_list_is_refused(llm: LLM, tags: Any) -> None:
    with pytest.raises(OptionError, match="tags="):
        llm.wake_up(tags)
