"""What the package ``openai`` gets from a served embedded model is what the model says offline."""

from __future__ import annotations

import openai

from pagednb.llm import LLM
from pagednb.sampling_params import SamplingParams

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
