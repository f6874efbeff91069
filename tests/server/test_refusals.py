"""What cannot be done is refused with the right status, in OpenAI's shape, naming the field."""

from __future__ import annotations

import json
import threading

import httpx
import pytest
from support.served import is_idle, serving, serving_rig, wait_until

CHAT = [{"role": "user", "content": "hi"}]
BROKEN_CALL = {"name": "f", "arguments": "{"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
OBJECT = {"type": "object"}


@pytest.fixture(scope="module")
def client():
    with serving(max_n=4, max_prompts=3, max_sequences=8) as (client, _):
        yield client


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "prompt: Field required"),
        ({"prompt": "a", "temprature": 1}, "no field 'temprature'; the nearest is 'temperature'"),
        ({"prompt": "a", "temperature": "hot"}, "temperature: "),
        ({"prompt": "a", "temperature": -1}, "temperature=-1"),
        ({"prompt": "a", "n": True}, "n: "),
        ({"prompt": "a", "n": 5}, "n=5 is more than this server gives: 4"),
        ({"prompt": ["a"] * 4}, "at most 3 prompts"),
        ({"prompt": ["a"] * 3, "n": 4}, "asks for 12 sequences; at most 8"),
        ({"prompt": []}, "The prompt is empty"),
        ({"prompt": [[]]}, "The prompt is empty"),
        ({"prompt": [1, 99999]}, "Token id 99999 is outside"),
        ({"prompt": [1, 2**70]}, "prompt"),
        ({"prompt": "x" * 3000, "max_tokens": 10}, "max_model_len=256"),
        ({"prompt": "a", "best_of": 5}, "best_of=5 is more than this server gives: 4"),
        ({"prompt": "a", "best_of": 2, "n": 3}, "best_of=2"),
        ({"prompt": "a", "best_of": 2, "stream": True}, "leave stream out"),
        ({"prompt": "a", "prompt_logprobs": 1, "stream": True}, "leave stream out"),
        ({"prompt": "a", "echo": True, "logprobs": 1, "stream": True}, "leave stream out"),
        ({"prompt": "a", "echo": True, "logprobs": 1, "prompt_logprobs": 2}, "are one number"),
        ({"prompt": "a", "echo": True, "max_tokens": 0, "stream": True}, "comes in one piece"),
        ({"prompt": [99999], "echo": True}, "Token id 99999 is outside"),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens=0"),
        ({"prompt": "a", "suffix": "b"}, "The field 'suffix' is not built. Put what follows into the prompt"),
        ({"prompt": "a", "use_beam_search": True}, "LLM.beam_search"),
        ({"prompt": "a", "length_penalty": True}, "'length_penalty' is not built"),
        ({"prompt": "a", "allowed_token_ids": [99999]}, "99999"),
        ({"prompt": "a", "allowed_token_ids": []}, "allowed_token_ids"),
        ({"prompt": "a", "allowed_token_ids": [5], "stop_token_ids": [5], "min_tokens": 1}, "leave no token"),
        ({"prompt": "a", "bad_words": [" "]}, "bad_words"),
        ({"prompt": "a", "truncate_prompt_tokens": 0}, "truncate_prompt_tokens=0"),
        ({"prompt": "a", "priority": 2**40}, "priority: "),
        ({"prompt": "a", "structured_outputs": {"json_object": True, "regex": "a"}}, "one constraint"),
        ({"prompt": "a", "logit_bias": {"x": 1}}, "keys of logit_bias are token ids"),
        ({"prompt": "a", "logprobs": 50}, "logprobs=50"),
        ({"prompt": "a", "stop": [""]}, "stop="),
        ({"prompt": "a", "seed": 2**80}, "seed="),
        ({"prompt": "a", "stream_options": {"include_usage": True}}, "stream_options belongs to a stream"),
        ({"prompt": "a", "structured_outputs": {"regex": "(", "choice": ["a"]}}, "one constraint"),
        ({"prompt": "a", "guided_regex": "("}, "regex"),
        ({"prompt": "\ud800"}, "not valid Unicode"),
        ({"prompt": "a", "stop": "\ud800"}, "stop is not valid Unicode"),
        ({"prompt": "a", "response_format": {"type": "json_schema"}}, "has a json_schema"),
        (
            {"prompt": "a", "response_format": {"type": "json_object"}, "guided_json": {"type": "array"}},
            "one constraint",
        ),
    ],
)
def test_completions(client: httpx.Client, body: dict, words: str) -> None:
    answer = client.post("/v1/completions", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert words in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"messages": []}, "messages: "),
        ({"messages": [{"role": "user", "content": "a", "mood": "good"}]}, "messages.0.mood"),
        ({"messages": [{"role": "wizard", "content": "a"}]}, "messages.0.role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "'image_url' is no text",
        ),
        ({"messages": CHAT, "top_logprobs": 3}, "top_logprobs needs logprobs"),
        ({"messages": CHAT, "logprobs": True, "top_logprobs": 30}, "logprobs=30"),
        ({"messages": CHAT, "max_tokens": 1, "max_completion_tokens": 2}, "two names of one limit"),
        ({"messages": CHAT, "response_format": {"type": "json_schema"}}, "has a json_schema"),
        ({"messages": CHAT, "response_format": {"type": "xml"}}, "response_format.type"),
        ({"messages": CHAT, "tool_choice": "required"}, "there are no tools"),
        ({"messages": CHAT, "tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "'g'"),
        (
            {"messages": CHAT, "tools": [TOOL], "tool_choice": "required", "response_format": {"type": "json_object"}},
            "exclude each other",
        ),
        ({"messages": CHAT, "tools": [TOOL], "tool_choice": "required", "guided_json": OBJECT}, "one constraint"),
        ({"messages": CHAT, "guided_json": OBJECT, "response_format": {"type": "json_object"}}, "one constraint"),
        ({"messages": CHAT, "chat_template_kwargs": {"tokenize": True}}, "does not read 'tokenize'. It reads: shout"),
        ({"messages": CHAT, "tools": [TOOL, TOOL]}, "Two tools have one name"),
        ({"messages": CHAT, "functions": [{}]}, "'functions' is not built. Use tools"),
        ({"messages": CHAT, "echo": True}, "Only /v1/completions has it"),
        ({"messages": CHAT, "modalities": ["text", "audio"]}, "'modalities' is not built"),
        ({"messages": CHAT, "reasoning_effort": "low"}, "does not read 'reasoning_effort'"),
        ({"messages": CHAT, "add_special_tokens": True}, "add_special_tokens"),
        ({"messages": CHAT, "continue_final_message": True}, "add_generation_prompt to be false"),
        (
            {"messages": CHAT, "continue_final_message": True, "add_generation_prompt": False},
            "last message of the assistant",
        ),
        ({"messages": CHAT, "best_of": 2, "stream": True}, "leave stream out"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "1", "function": BROKEN_CALL}]}]},
            "not valid JSON",
        ),
    ],
)
def test_chats(client: httpx.Client, body: dict, words: str) -> None:
    answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400, answer.text
    assert words in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/v1/completions", {"prompt": "a", "model": "gpt-9"}, 404, "model_not_found"),
        ("POST", "/v1/chat/completions", {"messages": CHAT, "model": "gpt-9"}, 404, "model_not_found"),
        ("GET", "/v1/models/gpt-9", None, 404, "model_not_found"),
        ("POST", "/v1/embeddings", {"input": "a", "model": "gpt-9"}, 404, "model_not_found"),
        ("POST", "/v1/embeddings", {"input": "a", "dimensions": 99}, 400, None),
        ("POST", "/v1/embeddings", {"input": "a", "encoding_format": "hex"}, 400, None),
        ("POST", "/v1/embeddings", {"input": "a", "truncate_prompt_tokens": 0}, 400, None),
        ("POST", "/v1/embeddings", {"input": []}, 400, None),
        ("POST", "/v1/embeddings", {"input": [[5], []]}, 400, None),
        ("POST", "/v1/embeddings", {"input": "a" * 3000}, 400, "context_length_exceeded"),
        ("POST", "/score", {"text_1": ["a", "b"], "text_2": "c"}, 400, None),
        ("POST", "/detokenize", {"tokens": [-1]}, 400, None),
        ("POST", "/tokenize", {}, 400, None),
        ("POST", "/generate", {"prompt": "a", "use_beam_search": True}, 400, None),
        ("POST", "/generate", {"prompt": "a", "prompt_logprobs": 1}, 400, None),
    ],
)
def test_other_routes(client: httpx.Client, method: str, path: str, body: dict, status: int, code: str | None) -> None:
    answer = client.request(method, path, json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    ("method", "path", "status", "sentence"),
    [
        ("GET", "/v1/nothing", 404, "There is no path '/v1/nothing' here. GET /openapi.json tells all."),
        ("POST", "/v1/responses", 404, "/v1/responses is not built yet. Use /v1/chat/completions."),
        ("POST", "/v1/audio/transcriptions", 404, "/v1/audio is not built yet. Models of pictures or sound"),
        ("POST", "/rerank", 404, "/rerank is not built yet. /score compares"),
        ("POST", "/sleep", 404, "pnb.sleep()"),
        ("GET", "/v1/completions", 405, "/v1/completions takes POST, not GET."),
        ("POST", "/v1/models", 405, "/v1/models takes GET, not POST."),
    ],
)
def test_paths_that_are_not_there(client: httpx.Client, method: str, path: str, status: int, sentence: str) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert sentence in answer.json()["error"]["message"]


def test_a_broken_body_is_told_so(client: httpx.Client) -> None:
    digits = b'{"prompt": "a", "seed": ' + b"9" * 5000 + b"}"
    for content in (b'{"prompt": "a"', b"[" * 100_000, b"\xff\xfe", digits):
        headers = {"Content-Type": "application/json"}
        answer = client.post("/v1/completions", content=content, headers=headers)
        error = answer.json()["error"]
        assert (answer.status_code, error["type"], error["param"]) == (400, "invalid_request_error", None)
        assert "JSON" in error["message"]


def test_a_schema_nested_without_end_is_refused(client: httpx.Client) -> None:
    schema: dict = {"type": "string"}
    for _ in range(300):
        schema = {"type": "array", "items": schema}
    answer = client.post("/v1/completions", json={"prompt": "a", "guided_json": schema})
    assert answer.status_code in (200, 400), answer.text


def test_a_full_queue_says_when_to_come_again_and_empties() -> None:
    may_go_on = threading.Event()
    with serving_rig(max_sequences=2) as (client, engine, executor):
        executor.before_step = lambda: may_go_on.wait(20)
        body = {"prompt": [5], "n": 2}
        waiting = threading.Thread(target=client.post, args=("/v1/completions",), kwargs={"json": body})
        waiting.start()
        wait_until(lambda: executor.num_steps > 0)
        refused = client.post("/v1/completions", json={"prompt": [5]})
        assert refused.headers["retry-after"] == "1" and refused.json()["error"]["code"] == "queue_full"
        may_go_on.set()
        waiting.join()
        wait_until(lambda: is_idle(engine))
        assert client.post("/v1/completions", json={"prompt": [5]}).status_code == 200
        assert "pagednb:request_refused_total" in client.get("/metrics").text


def test_without_an_engine_there_is_no_service() -> None:
    with serving() as (client, engine):
        assert client.get("/health").status_code == 200
        engine.shutdown()
        assert client.get("/health").status_code == 503
        answer = client.post("/v1/completions", json={"prompt": [5]})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_unavailable")
        assert client.get("/metrics").status_code == 200


def test_texts_that_wait_to_be_read_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pagednb.server.desk.MAX_APART", 0)
    with serving() as (client, _):
        refused = client.post("/v1/completions", json={"prompt": "long " * 1000})
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
        assert client.post("/v1/completions", json={"prompt": "short", "max_tokens": 2}).status_code == 200
