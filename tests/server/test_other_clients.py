"""curl and langchain-openai, as people use them."""

from __future__ import annotations

import itertools
import json
import subprocess

import pytest

from pagednb.llm import LLM
from pagednb.sampling_params import SamplingParams
from pagednb.server.server import Server

CHAT = [{"role": "user", "content": "What can pagednb do?"}]
GREEDY = SamplingParams(temperature=0, max_tokens=12)


def curl(*words: str) -> str:
    done = subprocess.run(["curl", "-sS", "-m", "20", *words], capture_output=True, text=True, check=True)
    return done.stdout


def post(url: str, body: dict) -> str:
    return curl("-N", url, "-H", "Content-Type: application/json", "-d", json.dumps(body))


def test_curl(server: Server, embedded: LLM) -> None:
    (offline,) = embedded.chat(CHAT, GREEDY, use_tqdm=False)
    body = {"messages": CHAT, "temperature": 0, "max_tokens": 12}
    answer = json.loads(post(f"{server.url}/v1/chat/completions", body))
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": offline.text}
    *lines, end, _, _ = post(f"{server.url}/v1/chat/completions", {**body, "stream": True}).split("\n")
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines if line]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == offline.text
    assert end == "data: [DONE]"


def test_the_first_demonstration_endpoint_of_vllm(server: Server, embedded: LLM) -> None:
    (offline,) = embedded.generate("Ticket:", GREEDY, use_tqdm=False)
    body = {"prompt": "Ticket:", "temperature": 0, "max_tokens": 12, "n": 2}
    assert json.loads(post(f"{server.url}/generate", body)) == {"text": [f"Ticket:{offline.text}"] * 2}
    lines = post(f"{server.url}/generate", {**body, "stream": True}).splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    assert texts[-1] == [f"Ticket:{offline.text}"] * 2
    assert all(later[0].startswith(earlier[0]) for earlier, later in itertools.pairwise(texts))


def test_tokens_and_back(server: Server, embedded: LLM) -> None:
    text = "Ticket: café 😀"
    told = json.loads(post(f"{server.url}/tokenize", {"prompt": text, "return_token_strs": True}))
    assert told["tokens"] == embedded.get_tokenizer()(text)["input_ids"]
    assert (told["count"], told["max_model_len"]) == (len(told["tokens"]), 2048)
    assert len(told["token_strs"]) == told["count"]
    assert json.loads(post(f"{server.url}/detokenize", {"tokens": told["tokens"]})) == {"prompt": text}
    laid_out = json.loads(post(f"{server.url}/tokenize", {"messages": CHAT}))["tokens"]
    assert laid_out == embedded.engine.chat_prompt(CHAT)["prompt_token_ids"].tolist()


def test_metrics_have_the_names_that_dashboards_ask_for(server: Server) -> None:
    post(f"{server.url}/v1/completions", {"prompt": "a", "max_tokens": 3, "stream": True})
    text = curl(f"{server.url}/metrics")
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(values['vllm:generation_tokens_total{model_name="m"}']) >= 3
    assert values['vllm:num_requests_running{model_name="m"}'] == "0.0"
    for name in ("time_to_first_token_seconds", "e2e_request_latency_seconds", "request_generation_tokens"):
        assert float(values[f'vllm:{name}_count{{model_name="m"}}']) >= 1
    assert any(name.startswith("vllm:request_success_total{") and "length" in name for name in values)
    assert curl(f"{server.url}/health") == "" and "version" in curl(f"{server.url}/version")


@pytest.mark.filterwarnings("default")  # of its own imports
def test_langchain(server: Server, embedded: LLM) -> None:
    from langchain_openai import ChatOpenAI

    (offline,) = embedded.chat(CHAT, GREEDY, use_tqdm=False)
    model = ChatOpenAI(base_url=f"{server.url}/v1", api_key="none", model="m", temperature=0, max_tokens=12)
    assert model.invoke(CHAT).content == offline.text
    assert "".join(chunk.content for chunk in model.stream(CHAT)) == offline.text
    told = model.bind_tools([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}])
    assert told.invoke(CHAT).response_metadata["finish_reason"] in ("length", "stop", "tool_calls")
    schema = {
        "title": "Ticket",
        "type": "object",
        "properties": {"urgent": {"type": "boolean"}},
        "required": ["urgent"],
    }
    parsed = model.with_structured_output(schema, method="json_schema").invoke(CHAT)
    assert isinstance(parsed["urgent"], bool)
