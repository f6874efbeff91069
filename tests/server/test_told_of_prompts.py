"""What answers tell of their prompts: echoes, log-probabilities and token ids, as they are offline."""

from __future__ import annotations

import openai
import pytest
from support.served import events, serving

from pagednb.llm import LLM
from pagednb.sampling_params import SamplingParams

TEXT = "Ticket: my parcel never came"
CHAT = [{"role": "user", "content": "What can pagednb do?"}]


def ids_of(embedded: LLM, text: str) -> list[int]:
    return embedded.engine.encode([text])[0].tolist()


def test_an_echo_is_the_prompt_and_its_answer(client: openai.OpenAI, embedded: LLM) -> None:
    params = SamplingParams(temperature=0, max_tokens=5, logprobs=2, prompt_logprobs=2)
    (offline,) = embedded.generate(TEXT, params, use_tqdm=False)
    for prompt in (TEXT, ids_of(embedded, TEXT)):
        answer = client.completions.create(
            model="m", prompt=prompt, temperature=0, max_tokens=5, echo=True, logprobs=2, n=2
        )
        assert [choice.text for choice in answer.choices] == [TEXT + offline.text] * 2
        told = answer.choices[1].logprobs
        assert "".join(told.tokens) == TEXT + offline.text
        assert told.text_offset == [len("".join(told.tokens[:i])) for i in range(len(told.tokens))]
        positions = [*offline.prompt_logprobs, *offline.outputs[0].logprobs]
        expected = [None if position is None else next(iter(position.values())).logprob for position in positions]
        assert told.token_logprobs[0] is None and told.top_logprobs[0] is None
        assert told.token_logprobs[1:] == pytest.approx(expected[1:], abs=1e-4)


def test_a_prompt_alone_is_scored_as_evaluation_harnesses_do(client: openai.OpenAI, embedded: LLM) -> None:
    prompts = [ids_of(embedded, TEXT), ids_of(embedded, "Hello there")]
    answer = client.completions.create(model="m", prompt=prompts, max_tokens=0, echo=True, logprobs=1, temperature=0)
    assert [choice.text for choice in answer.choices] == [TEXT, "Hello there"]
    for choice, prompt in zip(answer.choices, prompts, strict=True):
        assert len(choice.logprobs.token_logprobs) == len(choice.logprobs.tokens) == len(prompt)
        assert choice.finish_reason == "length"
    assert (answer.usage.completion_tokens, answer.usage.prompt_tokens) == (0, sum(map(len, prompts)))


def test_an_echo_streams_first(client: openai.OpenAI, embedded: LLM) -> None:
    (offline,) = embedded.generate(TEXT, SamplingParams(temperature=0, max_tokens=5), use_tqdm=False)
    body = {"model": "m", "prompt": TEXT, "temperature": 0, "max_tokens": 5, "echo": True, "n": 2, "stream": True}
    texts = ["", ""]
    for chunk in client.completions.create(**body):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == [TEXT + offline.text] * 2


def test_prompt_logprobs_are_the_offline_ones(client: openai.OpenAI, embedded: LLM) -> None:
    params = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=2)
    (offline,) = embedded.generate(TEXT, params, use_tqdm=False)
    (chatted,) = embedded.chat(CHAT, params, use_tqdm=False)
    extra = {"prompt_logprobs": 2}
    completion = client.completions.create(model="m", prompt=TEXT, temperature=0, max_tokens=1, extra_body=extra)
    chat = client.chat.completions.create(model="m", messages=CHAT, temperature=0, max_tokens=1, extra_body=extra)
    for told, expected in ((completion.choices[0], offline), (chat, chatted)):
        assert told.prompt_logprobs[0] is None and len(told.prompt_logprobs) == len(expected.prompt_token_ids)
        for position, own in zip(told.prompt_logprobs[1:], expected.prompt_logprobs[1:], strict=True):
            assert list(position) == [str(token_id) for token_id in own]
            for entry, logprob in zip(position.values(), own.values(), strict=True):
                assert entry["logprob"] == pytest.approx(logprob.logprob, abs=1e-4)
                assert (entry["rank"], entry["decoded_token"]) == (logprob.rank, logprob.decoded_token)


@pytest.mark.parametrize("stream", [False, True])
def test_token_ids_of_prompts_and_answers(client: openai.OpenAI, embedded: LLM, stream: bool) -> None:
    params = SamplingParams(temperature=0, max_tokens=6)
    (offline,) = embedded.generate(TEXT, params, use_tqdm=False)
    (chatted,) = embedded.chat(CHAT, params, use_tqdm=False)
    options = {"model": "m", "temperature": 0, "max_tokens": 6, "stream": stream}
    options["extra_body"] = {"return_token_ids": True}
    completion = client.completions.create(prompt=TEXT, **options)
    chat = client.chat.completions.create(messages=CHAT, **options)
    chunks = list(completion) if stream else [completion]
    assert chunks[0].choices[0].prompt_token_ids == list(offline.prompt_token_ids)
    assert [i for chunk in chunks for i in chunk.choices[0].token_ids] == list(offline.outputs[0].token_ids)
    chunks = list(chat) if stream else [chat]
    assert chunks[0].prompt_token_ids == list(chatted.prompt_token_ids)
    told = [i for chunk in chunks for i in getattr(chunk.choices[0], "token_ids", ())]
    assert told == list(chatted.outputs[0].token_ids)


def test_a_truncated_prompt_is_told_as_the_model_saw_it(client: openai.OpenAI, embedded: LLM) -> None:
    kept = ids_of(embedded, TEXT)[-3:]
    extra = {"truncate_prompt_tokens": 3, "return_token_ids": True}
    answer = client.completions.create(model="m", prompt=TEXT, max_tokens=2, echo=True, extra_body=extra)
    assert answer.choices[0].prompt_token_ids == kept
    assert answer.choices[0].text.startswith(embedded.engine.decode(kept))
    assert answer.usage.prompt_tokens == 3
    long = client.completions.create(
        model="m", prompt="word " * 3000, max_tokens=5, extra_body={"truncate_prompt_tokens": -1}
    )
    assert long.usage.prompt_tokens == 2048 - 5
    extra = {"truncate_prompt_tokens": 4, "return_token_ids": True}
    chat = client.chat.completions.create(model="m", messages=CHAT, max_tokens=2, extra_body=extra)
    assert (len(chat.prompt_token_ids), chat.usage.prompt_tokens) == (4, 4)


def test_usage_so_far_stands_in_every_event() -> None:
    body = {"prompt": [5, 6, 7], "max_tokens": 4, "ignore_eos": True, "stream": True}
    options = {"include_usage": True, "continuous_usage_stats": True}
    with serving() as (client, _):
        told = events(client.post("/v1/completions", json={**body, "stream_options": options}))
        assert [event["usage"]["prompt_tokens"] for event in told] == [3] * len(told)
        counts = [event["usage"]["completion_tokens"] for event in told]
        assert counts == sorted(counts) and counts[0] >= 1 and counts[-1] == 4
        told = events(client.post("/v1/completions", json={**body, "stream_options": {"include_usage": True}}))
        assert [event["usage"] is None for event in told] == [True] * (len(told) - 1) + [False]
