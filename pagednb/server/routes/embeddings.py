"""``/v1/embeddings``: texts in, vectors out; ``/score``: how alike texts are."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

from pagednb.errors import PagednbError
from pagednb.request import Pooling
from pagednb.sampling_params import SamplingParams
from pagednb.server.api_error import ApiError, as_api_error
from pagednb.server.desk import Desk
from pagednb.server.json_response import JsonResponse
from pagednb.server.prompts import completion_prompts, truncated
from pagednb.server.protocol.embedding_requests import EmbeddingRequest, PooledFields, ScoreRequest
from pagednb.server.served_model import require_model
from pagednb.server.usage import Usage
from pagednb.server.vectors import as_base64, of_length_one

DEFAULT_POOLING: Pooling = "last"


def embedding_routes(desk: Desk) -> APIRouter:
    """Return the routes."""
    router = APIRouter()

    @router.post("/v1/embeddings", response_model=None)
    async def embeddings(body: EmbeddingRequest, request: Request) -> Response:
        """Return each text as a vector of the model's last hidden states, of length 1 unless told otherwise."""
        require_model(desk.settings, body.model)
        _check_dimensions(desk, body.dimensions)
        vectors, usage = await _pooled(desk, request, body, body.input, adds=body.add_special_tokens is not False)

        def response() -> Response:
            shown = vectors if body.normalize is False else of_length_one(vectors)
            texts = [as_base64(vector) for vector in shown] if body.encoding_format == "base64" else shown.tolist()
            data = [{"object": "embedding", "index": index, "embedding": each} for index, each in enumerate(texts)]
            return JsonResponse(_answer(desk, "embd", data, usage))

        return await desk.apart(response)

    @router.post("/score", response_model=None)
    @router.post("/v1/score", response_model=None)
    async def score(body: ScoreRequest, request: Request) -> Response:
        """Return the cosines of texts, as vLLM tells them: one text with each, or pair by pair."""
        require_model(desk.settings, body.model)
        first, second = ([each] if isinstance(each, str) else each for each in (body.text_1, body.text_2))
        if len(first) not in (1, len(second)) or not second:
            raise ApiError(f"{len(first)} texts cannot be paired with {len(second)}.", param="text_2")
        vectors, usage = await _pooled(desk, request, body, [*first, *second], adds=True)
        vectors = of_length_one(vectors)
        scores = (vectors[: len(first)] * vectors[len(first) :]).sum(axis=1).tolist()
        data = [{"object": "score", "index": index, "score": each} for index, each in enumerate(scores)]
        return JsonResponse(_answer(desk, "score", data, usage))

    return router


async def _pooled(
    desk: Desk, request: Request, body: PooledFields, sent: Any, *, adds: bool
) -> tuple[np.ndarray, Usage]:
    """Return vectors of what was sent, float32 ``[num_prompts, hidden_size]``, and what they took."""
    try:
        params = SamplingParams(
            temperature=0, max_tokens=1, detokenize=False, truncate_prompt_tokens=body.truncate_prompt_tokens
        )
    except PagednbError as error:
        raise as_api_error(error) from None
    prompts = truncated(desk, await completion_prompts(desk, sent, add_special_tokens=adds), params)
    pooling = body.pooling or DEFAULT_POOLING
    call = await desk.submit(request.receive, prompts, params, priority=body.priority, pooling=pooling)
    vectors: dict[int, np.ndarray] = {}
    try:
        while call.is_pending:
            for index, output in await call.news():
                assert output.embedding is not None
                vectors[index] = output.embedding
    finally:
        desk.close(call)
    return np.stack([vectors[index] for index in range(len(prompts))]), call.usage


def _check_dimensions(desk: Desk, wanted: int | None) -> None:
    if wanted is not None and wanted != (own := desk.engine.resolved.spec.hidden_size):
        raise ApiError(f"This model's vectors have {own} dimensions, and are not cut.", param="dimensions")


def _answer(desk: Desk, prefix: str, data: list[dict[str, Any]], usage: Usage) -> dict[str, Any]:
    return {
        "id": f"{prefix}-{desk.new_id()}",
        "object": "list",
        "created": int(time.time()),
        "model": desk.settings.served_model_names[0],
        "data": data,
        "usage": {"prompt_tokens": usage.num_prompt_tokens, "total_tokens": usage.num_prompt_tokens},
    }
