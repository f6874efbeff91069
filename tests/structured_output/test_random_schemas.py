"""Schema fuzz: a model of random weights at temperature 1 writes JSON that fits, whatever the schema asks for."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.random_schemas import schemas
from support.tiny_models import tiny_byte_model

from pagednb import LLM, SamplingParams

MAX_TOKENS = 300


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLM]:
    folder: pathlib.Path = tiny_byte_model(tmp_path_factory.mktemp("model"))
    with LLM(folder, device="cpu", dtype="float32", max_model_len=400, max_num_seqs=4) as llm:
        yield llm


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(schema=schemas, whitespace=st.booleans(), seed=st.integers(0, 2**31))
def test_answers_fit_random_schemas(llm: LLM, schema: dict[str, Any], whitespace: bool, seed: int) -> None:
    params = SamplingParams(
        schema=schema, whitespace=whitespace, temperature=1.0, seed=seed, max_tokens=MAX_TOKENS, n=2
    )
    (output,) = llm.generate(["Any value:"], params, use_tqdm=False)
    for completion in output.outputs:
        if completion.finish_reason == "length":
            assert len(completion.token_ids) == MAX_TOKENS
            continue
        assert completion.finish_reason == "stop"
        value = json.loads(completion.text)
        jsonschema.validate(value, schema)
        if not whitespace:
            assert json.dumps(value, separators=(",", ":"), ensure_ascii=False).count(" ") == completion.text.count(" ")
