"""A server on a free port, for real clients."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from support.engine_rig import RigExecutor, make_engine

from pagednb.engine.llm_engine import LLMEngine
from pagednb.llm import LLM
from pagednb.server.listener import bind_listener
from pagednb.server.server import Server
from pagednb.server.settings import ServerSettings


def start(engine: LLMEngine, **options) -> Server:
    """Serve ``engine`` under the name "m"."""
    settings = ServerSettings(served_model_names=("m",), **options)
    return Server(engine, bind_listener("127.0.0.1", 0), settings)


@pytest.fixture(scope="module")
def embedded() -> Iterator[LLM]:
    with LLM(device="cpu", num_gpu_blocks_override=2000) as llm:
        yield llm


@pytest.fixture(scope="module")
def server(embedded: LLM) -> Iterator[Server]:
    """The embedded model, served."""
    server = start(embedded.engine)
    yield server
    server.stop()


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def rig() -> Iterator[tuple[LLMEngine, RigExecutor]]:
    """An engine whose tokens are known in advance, and its executor."""
    engine, executor = make_engine()
    yield engine, executor
    engine.shutdown()
