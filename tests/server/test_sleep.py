"""A server whose engine sleeps: requests hear so with a status that clients understand, probes hear the truth."""

from __future__ import annotations

from typing import Any

import pytest
from support.served import serving

PROMPT: dict[str, Any] = {"prompt": [5, 6, 7], "max_tokens": 4, "seed": 3}
MESSAGES = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "completion": ("/v1/completions", PROMPT),
    "stream": ("/v1/completions", {**PROMPT, "stream": True}),
    "chat": ("/v1/chat/completions", MESSAGES),
    "embeddings": ("/v1/embeddings", {"input": [5, 6, 7]}),
    "generate": ("/generate", {"prompt": "hi", "max_tokens": 4}),
}


def test_requests_hear_that_it_sleeps_and_are_answered_again() -> None:
    with serving() as (client, engine):
        engine.sleep()
        for path, body in REQUESTS.values():
            answer = client.post(path, json=body)
            error = answer.json()["error"]
            assert (answer.status_code, error["code"], error["type"]) == (503, "engine_asleep", "server_error"), path
            assert error["message"].startswith("The engine is asleep.")
            assert answer.headers["Retry-After"] == "1"
        engine.wake_up()
        for path, body in REQUESTS.values():
            assert client.post(path, json=body).status_code == 200, path


@pytest.mark.parametrize("level", [1, 2])
def test_probes_hear_the_truth_and_what_needs_no_device_is_answered(level: int) -> None:
    with serving() as (client, engine):
        engine.sleep(level)
        health = client.get("/health")
        assert (health.status_code, health.json()["error"]["code"]) == (503, "engine_asleep")
        for path in ("/version", "/metrics", "/v1/models"):
            assert client.get(path).status_code == 200
        assert client.post("/tokenize", json={"prompt": "hi"}).json()["count"] > 0
        engine.wake_up()
        assert client.get("/health").status_code == 200
