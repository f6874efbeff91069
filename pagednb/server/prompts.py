"""From prompts as clients send them to token ids, on another thread where that takes long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from pagednb.engine.token_prompt import kept_part
from pagednb.errors import PagednbError
from pagednb.sampling_params import SamplingParams
from pagednb.server.api_error import ApiError, as_api_error

if TYPE_CHECKING:
    from pagednb.server.desk import Desk

TokenIds: TypeAlias = list[int] | np.ndarray

SHORT_TEXT_CHARS = 2000
"""Texts up to here are encoded at once: a millisecond, where another thread costs a tenth of that and a wait."""


async def completion_prompts(desk: Desk, sent: Any, *, add_special_tokens: bool = True) -> list[TokenIds]:
    """Return the token ids of a prompt or of each of several; ``sent`` is as ``CompletionRequest.prompt``.

    Raises:
        ApiError: there is none, there are too many, or a text that cannot be encoded.
    """
    prompts = sent if isinstance(sent, list) and sent and not isinstance(sent[0], int) else [sent]
    if len(prompts) > desk.settings.max_prompts:
        raise ApiError(f"A request has at most {desk.settings.max_prompts:,} prompts.", param="prompt")
    if not isinstance(prompts[0], str):
        return prompts
    return await encoded(desk, prompts, add_special_tokens=add_special_tokens)


def truncated(desk: Desk, prompts: list[TokenIds], params: SamplingParams) -> list[TokenIds]:
    """Return what ``params`` keep of each prompt: what is told of prompts is about what the model sees."""
    if params.truncate_prompt_tokens is None:
        return prompts
    kept = kept_part(params, desk.engine.geometry)
    return [prompt[kept] for prompt in prompts]


def as_list(token_ids: TokenIds) -> list[int]:
    """Return Python's numbers, as JSON takes them."""
    return token_ids if isinstance(token_ids, list) else token_ids.tolist()


async def encoded(desk: Desk, texts: Sequence[str], *, add_special_tokens: bool) -> list[TokenIds]:
    """Return the token ids of texts. Raises ApiError for a text that cannot be encoded."""

    def encode() -> list[TokenIds]:
        return cast("list[TokenIds]", desk.engine.encode(texts, add_special_tokens=add_special_tokens))

    try:
        return encode() if sum(map(len, texts)) <= SHORT_TEXT_CHARS else await desk.apart(encode)
    except PagednbError as error:
        raise as_api_error(error) from None
