"""What the package ``openai`` gets from a served embedded model is what the model says offline."""

from __future__ import annotations

import asyncio
import json
from typing import Literal

import openai
import pydantic
import pytest

from pagednb.llm import LLM
from pagednb.sampling_params import SamplingParams
from pagednb.server.server import Server

CHAT = [{"role": "user", "content": "What can pagednb do?"}]
GREEDY = SamplingParams(temperature=0, max_tokens=12)


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["m"]
    assert client.models.retrieve("m").owned_by == "pagednb"


def test_a_completion_is_the_offline_text(client: openai.OpenAI, embedded: LLM) -> None:
    (offline,) = embedded.generate("Ticket: my app crashes", GREEDY, use_tqdm=False)
    answer = client.completions.create(model="m", prompt="Ticket: my app crashes", temperature=0, max_tokens=12)
    assert answer.choices[0].text == offline.text
    assert answer.usage.prompt_tokens == len(offline.prompt_token_ids)
    assert answer.usage.completion_tokens == len(offline.outputs[0].token_ids)


def test_a_streamed_completion_is_the_same_text(client: openai.OpenAI, embedded: LLM) -> None:
    (offline,) = embedded.generate("Ticket: my app crashes", GREEDY, use_tqdm=False)
    chunks = list(
        client.completions.create(
            model="m",
            prompt=list(offline.prompt_token_ids),
            temperature=0,
            max_tokens=12,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == offline.text
    assert chunks[-2].choices[0].finish_reason == offline.outputs[0].finish_reason
    assert chunks[-1].usage.completion_tokens == len(offline.outputs[0].token_ids)


def test_batches_and_n_keep_their_order(client: openai.OpenAI, embedded: LLM) -> None:
    prompts = ["Ticket: my app crashes", "Ticket: where is my parcel", "Hello"]
    params = SamplingParams(temperature=1, seed=5, n=2, max_tokens=8)
    offline = embedded.generate(prompts, params, use_tqdm=False)
    answer = client.completions.create(model="m", prompt=prompts, temperature=1, seed=5, n=2, max_tokens=8)
    assert [choice.text for choice in answer.choices] == [each.text for output in offline for each in output.outputs]
    assert [choice.index for choice in answer.choices] == list(range(6))


def test_a_chat_is_the_offline_answer(client: openai.OpenAI, embedded: LLM) -> None:
    (offline,) = embedded.chat(CHAT, GREEDY, use_tqdm=False)
    answer = client.chat.completions.create(model="m", messages=CHAT, temperature=0, max_tokens=12)
    assert answer.choices[0].message.content == offline.text
    assert answer.choices[0].finish_reason == offline.outputs[0].finish_reason


def test_a_streamed_chat_is_the_same_answer(client: openai.OpenAI, embedded: LLM) -> None:
    (offline,) = embedded.chat(CHAT, GREEDY, use_tqdm=False)
    chunks = list(
        client.chat.completions.create(model="m", messages=CHAT, temperature=0, max_completion_tokens=12, stream=True)
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == offline.text
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == offline.outputs[0].finish_reason


class Ticket(pydantic.BaseModel):
    team: Literal["billing", "technical", "shipping"]
    urgent: bool


ROUTE = {
    "type": "function",
    "function": {"name": "route", "description": "Route a ticket.", "parameters": Ticket.model_json_schema()},
}
CLOSE = {"type": "function", "function": {"name": "close", "parameters": {"type": "object", "properties": {}}}}


def test_many_asynchronous_streams_at_once(server: Server, embedded: LLM) -> None:
    prompts = [f"Ticket: order {number} never came" for number in range(12)]
    offline = embedded.generate(prompts, GREEDY, use_tqdm=False)

    async def text(client: openai.AsyncOpenAI, prompt: str) -> str:
        chunks = await client.completions.create(model="m", prompt=prompt, temperature=0, max_tokens=12, stream=True)
        return "".join([chunk.choices[0].text async for chunk in chunks])

    async def all_texts() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
            return await asyncio.gather(*(text(client, prompt) for prompt in prompts))

    assert asyncio.run(all_texts()) == [output.text for output in offline]


def test_structured_output_parses(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(model="m", messages=CHAT, response_format=Ticket, max_tokens=40)
    assert isinstance(answer.choices[0].message.parsed, Ticket)
    answer = client.chat.completions.create(
        model="m", messages=CHAT, extra_body={"guided_choice": ["billing", "shipping"]}, max_tokens=20
    )
    assert answer.choices[0].message.content in ("billing", "shipping")
    anything = {"type": "json_schema", "json_schema": {"name": "anything", "schema": {}}}
    assert client.chat.completions.create(model="m", messages=CHAT, response_format=anything, max_tokens=2).choices
    answer = client.chat.completions.create(
        model="m", messages=CHAT, response_format={"type": "json_object"}, max_tokens=200, temperature=0
    )
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(answer.choices[0].message.content), dict)


def test_structured_output_streams(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="m", messages=CHAT, response_format=Ticket, max_tokens=40) as stream:
        for _ in stream:
            pass
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, Ticket)


def test_a_required_tool_is_called(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="m",
        messages=CHAT,
        tools=[ROUTE, CLOSE],
        tool_choice="required",
        parallel_tool_calls=False,
        max_tokens=80,
    )
    (call,) = answer.choices[0].message.tool_calls
    assert (answer.choices[0].finish_reason, answer.choices[0].message.content) == ("tool_calls", None)
    if call.function.name == "route":
        Ticket.model_validate_json(call.function.arguments)
    else:
        assert (call.function.name, json.loads(call.function.arguments)) == ("close", {})


class Part(pydantic.BaseModel):
    team: Literal["billing", "technical"]


class Whole(pydantic.BaseModel):
    first: Part
    second: Part


def test_a_tool_with_types_of_its_own_is_called(client: openai.OpenAI) -> None:
    tool = {"type": "function", "function": {"name": "split", "parameters": Whole.model_json_schema()}}
    for choice in ("required", {"type": "function", "function": {"name": "split"}}):
        answer = client.chat.completions.create(
            model="m", messages=CHAT, tools=[tool], tool_choice=choice, parallel_tool_calls=False, max_tokens=120
        )
        (call,) = answer.choices[0].message.tool_calls
        Whole.model_validate_json(call.function.arguments)


def test_a_named_tool_is_called_also_as_a_stream(client: openai.OpenAI) -> None:
    chunks = client.chat.completions.create(
        model="m",
        messages=CHAT,
        tools=[ROUTE, CLOSE],
        tool_choice={"type": "function", "function": {"name": "route"}},
        max_tokens=80,
        stream=True,
    )
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert {call.function.name for call in calls if call.function.name} == {"route"}
    Ticket.model_validate_json("".join(call.function.arguments for call in calls))


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs_of_a_chat_are_the_offline_ones(client: openai.OpenAI, embedded: LLM, stream: bool) -> None:
    params = SamplingParams(temperature=0, max_tokens=6, logprobs=3)
    (offline,) = embedded.chat(CHAT, params, use_tqdm=False)
    answer = client.chat.completions.create(
        model="m", messages=CHAT, temperature=0, max_tokens=6, logprobs=True, top_logprobs=3, stream=stream
    )
    chunks = list(answer) if stream else [answer]
    told = [entry for chunk in chunks if chunk.choices[0].logprobs for entry in chunk.choices[0].logprobs.content]
    expected = [list(position.values()) for position in offline.outputs[0].logprobs]
    assert len(told) == len(expected)
    for entry, position in zip(told, expected, strict=True):
        assert entry.token == position[0].decoded_token
        assert entry.logprob == pytest.approx(position[0].logprob, abs=1e-4)
        best = sorted((each for each in position if each.rank <= 3), key=lambda each: each.rank)
        assert sorted(each.token for each in entry.top_logprobs) == sorted(each.decoded_token for each in best)
        assert len(entry.top_logprobs) == 3


def test_logprobs_of_a_completion(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="m", prompt="Ticket:", temperature=0, max_tokens=5, logprobs=2)
    logprobs = answer.choices[0].logprobs
    assert "".join(logprobs.tokens) == answer.choices[0].text
    assert logprobs.text_offset == [len("".join(logprobs.tokens[:i])) for i in range(5)]
    for token, logprob, top in zip(logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, strict=True):
        assert top[token] == logprob == max(top.values())


def test_stop_bias_and_penalties_reach_the_model(client: openai.OpenAI, embedded: LLM) -> None:
    (offline,) = embedded.generate("Ticket:", SamplingParams(temperature=0, max_tokens=12), use_tqdm=False)
    word = offline.text.split()[-1]
    answer = client.completions.create(model="m", prompt="Ticket:", temperature=0, max_tokens=12, stop=[word])
    assert (answer.choices[0].finish_reason, answer.choices[0].text) == ("stop", offline.text.partition(word)[0])
    first = offline.outputs[0].token_ids[0]
    answer = client.completions.create(
        model="m", prompt="Ticket:", temperature=0, max_tokens=1, logit_bias={str(first): -100}, logprobs=0
    )
    assert answer.choices[0].logprobs.tokens != [embedded.get_tokenizer().decode([first])]


def test_errors_are_the_classes_that_programs_catch(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="temperature"):
        client.completions.create(model="m", prompt="a", temperature=-3)
    with pytest.raises(openai.NotFoundError, match="gpt-9"):
        client.completions.create(model="gpt-9", prompt="a")
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model="m", prompt="word " * 3000)
    assert refused.value.code == "context_length_exceeded"


def test_habits_of_clients_are_no_errors(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="m",
        messages=[
            {"role": "developer", "content": [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}]},
            *CHAT,
        ],
        max_tokens=2,
        user="u",
        store=False,
        metadata={"a": "b"},
        service_tier="auto",
        n=None,
    )
    again = [{"role": "user", "content": "a"}, answer.choices[0].message, {"role": "user", "content": "b"}]
    assert client.chat.completions.create(model="m", messages=again, max_tokens=2).choices
