"""Embeddings of prompts from a model that writes text: its last hidden states, pooled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pagednb.engine.checked_prompts import CheckedPrompt
from pagednb.engine.faults import raise_if_aborted
from pagednb.engine.token_prompt import Prompt
from pagednb.outputs import Embedding, PoolingOutput, RequestOutput, Score
from pagednb.request import Pooling
from pagednb.sampling_params import SamplingParams

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine

_SMALLEST = 1e-12
"""Least length that a vector is divided by."""

ONE_TOKEN = SamplingParams(temperature=0, max_tokens=1, detokenize=False)
"""A request ends when it has sampled; what it samples is thrown away."""


def embed(
    engine: LLMEngine, prompts: Sequence[Prompt], *, pooling: Pooling, truncate_prompt_tokens: int | None = None
) -> list[RequestOutput]:
    """Return outputs with an ``embedding`` each, in the order of ``prompts``. Raises PagednbError as ``generate``."""
    params = ONE_TOKEN
    if truncate_prompt_tokens is not None:
        params = SamplingParams(
            temperature=0, max_tokens=1, detokenize=False, truncate_prompt_tokens=truncate_prompt_tokens
        )
    outputs: dict[int, RequestOutput] = {}
    with engine.open_call(pooling=pooling) as call:
        encoded = engine.tokenize(prompts)
        call.submit_all([CheckedPrompt(index, prompt, params) for index, prompt in enumerate(encoded)])
        for index, output in call.results():
            raise_if_aborted(output)
            outputs[index] = output
    return [outputs[index] for index in range(len(encoded))]


def as_embedding(output: RequestOutput, *, normalize: bool) -> PoolingOutput[Embedding]:
    """Return an output of ``embed`` in vLLM's shape, of length 1 if asked for."""
    vector = output.embedding
    assert vector is not None
    if normalize:
        vector = as_unit(vector)
    return PoolingOutput(
        request_id=output.request_id,
        prompt_token_ids=output.prompt_token_ids,
        outputs=Embedding(embedding=tuple(vector.tolist())),
    )


def as_unit(vector: np.ndarray) -> np.ndarray:
    """Return the vector, float32 ``[hidden_size]``, at length 1."""
    unit: np.ndarray = vector / max(float(np.linalg.norm(vector)), _SMALLEST)
    return unit


def as_score(one: PoolingOutput[Embedding], other: PoolingOutput[Embedding]) -> PoolingOutput[Score]:
    """Return the cosine of two embeddings of length 1."""
    score = float(np.dot(one.outputs.embedding, other.outputs.embedding))
    return PoolingOutput(
        request_id=other.request_id,
        prompt_token_ids=(*one.prompt_token_ids, *other.prompt_token_ids),
        outputs=Score(score=score),
    )
