"""``/tokenize`` and ``/detokenize``: what the model's tokenizer makes of a text, and back."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from pagednb.server.api_error import ApiError
from pagednb.server.chat_prompt import chat_prompt
from pagednb.server.chat_template import ChatTemplate
from pagednb.server.desk import Desk
from pagednb.server.json_response import JsonResponse
from pagednb.server.prompts import TokenIds, encoded
from pagednb.server.protocol.token_requests import DetokenizeRequest, TokenizeRequest
from pagednb.server.served_model import require_model


def token_routes(desk: Desk) -> APIRouter:
    """Return the routes."""
    router = APIRouter()
    template = ChatTemplate.of(desk.engine, desk.settings.tool_format)

    @router.post("/tokenize", response_model=None)
    async def tokenize(body: TokenizeRequest) -> JsonResponse:
        """Return the token ids of a text, or of a conversation laid out."""
        require_model(desk.settings, body.model)
        token_ids = await _token_ids(body)
        answer: dict[str, Any] = {
            "count": len(token_ids),
            "max_model_len": desk.engine.geometry.max_model_len,
            "tokens": [int(token_id) for token_id in token_ids],
        }
        if body.return_token_strs:
            answer["token_strs"] = desk.engine.tokenizer.convert_ids_to_tokens(answer["tokens"])
        return JsonResponse(answer)

    @router.post("/detokenize", response_model=None)
    async def detokenize(body: DetokenizeRequest) -> JsonResponse:
        """Return the text of token ids, special tokens included."""
        require_model(desk.settings, body.model)
        vocab_size = desk.engine.resolved.spec.vocab_size
        outside = [token_id for token_id in body.tokens if not 0 <= token_id < vocab_size]
        if outside:
            message = f"Token id {outside[0]} is outside the model's vocabulary of {vocab_size}."
            raise ApiError(message, param="tokens")
        return JsonResponse({"prompt": await desk.apart(lambda: desk.engine.decode(body.tokens))})

    async def _token_ids(body: TokenizeRequest) -> TokenIds:
        if (body.prompt is None) is (body.messages is None):
            raise ApiError("Give either a prompt or messages.", param="prompt")
        if body.prompt is not None:
            adds = body.add_special_tokens is not False
            return (await encoded(desk, [body.prompt], add_special_tokens=adds))[0]
        kwargs = template.checked(body.chat_template_kwargs)
        opens = body.add_generation_prompt is not False
        laid_out = await chat_prompt(desk, template, body.messages or (), add_generation_prompt=opens, **kwargs)
        return laid_out.token_ids

    return router
