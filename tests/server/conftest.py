"""The embedded model on a free port, for real clients."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from support.served import start

from pagednb.llm import LLM
from pagednb.server.server import Server


@pytest.fixture(scope="module")
def embedded() -> Iterator[LLM]:
    with LLM(device="cpu", num_gpu_blocks_override=2000) as llm:
        yield llm


@pytest.fixture(scope="module")
def server(embedded: LLM) -> Iterator[Server]:
    server = start(embedded.engine)
    yield server
    server.stop()


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client
