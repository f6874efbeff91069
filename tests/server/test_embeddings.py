"""Vectors over HTTP are those of ``LLM.embed``, whichever client asks and however they are written."""

from __future__ import annotations

import base64

import httpx
import numpy as np
import openai
import pytest
from support.rig_figures import hidden_state
from support.served import serving

from pagednb.llm import LLM
from pagednb.server.server import Server

TEXTS = ["My parcel never came.", "Where is my order?", "Leaves turn red."]


def offline(embedded: LLM, texts: list, **options) -> np.ndarray:
    return np.array([output.outputs.embedding for output in embedded.embed(texts, **options)])


@pytest.mark.parametrize("form", ["float", "base64", openai.NOT_GIVEN])
def test_the_openai_client_gets_the_offline_vectors(client: openai.OpenAI, embedded: LLM, form) -> None:
    answer = client.embeddings.create(model="m", input=TEXTS, encoding_format=form, user="u")
    vectors = [answer.data[index].embedding for index in range(3)]
    if form == "base64":
        vectors = [np.frombuffer(base64.b64decode(vector), dtype="<f4") for vector in vectors]
    np.testing.assert_allclose(vectors, offline(embedded, TEXTS), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    num_tokens = sum(len(embedded.engine.encode([text])[0]) for text in TEXTS)
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (num_tokens, num_tokens)
    assert (answer.object, answer.data[0].object, answer.model) == ("list", "embedding", "m")


def test_token_ids_and_a_single_text(client: openai.OpenAI, embedded: LLM) -> None:
    ids = embedded.engine.encode(TEXTS[:1])[0].tolist()
    expected = offline(embedded, TEXTS[:1])
    for sent in (TEXTS[0], ids, [ids]):
        (one,) = client.embeddings.create(model="m", input=sent).data
        np.testing.assert_allclose([one.embedding], expected, atol=1e-5)


def test_extra_fields(client: openai.OpenAI, embedded: LLM) -> None:
    size = embedded.engine.resolved.spec.hidden_size
    body = {"normalize": False, "pooling": "mean", "truncate_prompt_tokens": 2, "priority": 1}
    answer = client.embeddings.create(model="m", input=TEXTS[0], dimensions=size, extra_body=body)
    expected = offline(embedded, TEXTS[:1], normalize=False, pooling="mean", truncate_prompt_tokens=2)
    np.testing.assert_allclose([answer.data[0].embedding], expected, rtol=1e-4, atol=1e-5)
    assert answer.usage.prompt_tokens == 2


def test_scores(server: Server, embedded: LLM) -> None:
    expected = [output.outputs.score for output in embedded.score(TEXTS[0], TEXTS[1:])]
    for path, text_1, text_2 in (("/score", TEXTS[0], TEXTS[1:]), ("/v1/score", [TEXTS[0]] * 2, TEXTS[1:])):
        answer = httpx.post(server.url + path, json={"text_1": text_1, "text_2": text_2}).json()
        assert [entry["score"] for entry in answer["data"]] == pytest.approx(expected, abs=1e-4)
        assert [(entry["index"], entry["object"]) for entry in answer["data"]] == [(0, "score"), (1, "score")]


@pytest.mark.filterwarnings("default")  # of its own imports
def test_langchain(server: Server, embedded: LLM) -> None:
    from langchain_openai import OpenAIEmbeddings

    model = OpenAIEmbeddings(
        base_url=f"{server.url}/v1", api_key="none", model="m", check_embedding_ctx_length=False
    )  # it would cut texts by the tokens of a model of OpenAI's
    np.testing.assert_allclose(model.embed_documents(TEXTS), offline(embedded, TEXTS), atol=1e-5)
    np.testing.assert_allclose([model.embed_query(TEXTS[0])], offline(embedded, TEXTS[:1]), atol=1e-5)


def test_many_at_once_in_order_and_figures() -> None:
    with serving() as (client, _):
        prompts = [[2 + index % 300] * (1 + index % 30) for index in range(200)]
        body = {"input": prompts, "normalize": False}
        answer = client.post("/v1/embeddings", json=body).json()
        assert [entry["index"] for entry in answer["data"]] == list(range(200))
        expected = [hidden_state(prompt[-1]).tolist() for prompt in prompts]
        assert [entry["embedding"] for entry in answer["data"]] == expected
        figures = client.get("/metrics").text
        assert 'vllm:request_generation_tokens_sum{model_name="m"} 0.0' in figures
