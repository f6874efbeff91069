"""``LLM`` on a tiny real model; after each test nothing runs, waits or holds a block."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest
from support.tiny_llm import MAX_MODEL_LEN
from support.tiny_models import tiny_model

from pagednb import LLM


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_model("llama2", folder, tokenizer=True)
    config = '{"eos_token_id": 2, "temperature": 0.5, "top_k": 7}'
    (folder / "generation_config.json").write_text(config)
    return folder


@pytest.fixture(scope="module")
def llm(folder: pathlib.Path) -> Iterator[LLM]:
    with LLM(str(folder), device="cpu", dtype="float32", max_model_len=MAX_MODEL_LEN, block_size=8, seed=3) as llm:
        yield llm


@pytest.fixture(autouse=True)
def books_balance(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PAGEDNB_PROGRESS", "0")
    yield
    llm.engine.check_integrity()
    stats = llm.status().scheduler
    assert (stats.num_running, stats.num_waiting, stats.num_used_blocks) == (0, 0, 0)
