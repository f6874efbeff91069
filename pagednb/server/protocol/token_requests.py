"""The bodies of ``/tokenize`` and ``/detokenize``."""

from __future__ import annotations

from typing import Any

from pagednb.server.protocol.body import Body
from pagednb.server.protocol.chat_message import ChatMessage


class TokenizeRequest(Body):
    """A text, or messages to be laid out first."""

    model: str | None = None
    prompt: str | None = None
    messages: list[ChatMessage] | None = None
    add_special_tokens: bool | None = None
    add_generation_prompt: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    return_token_strs: bool | None = None


class DetokenizeRequest(Body):
    """Token ids to be read."""

    model: str | None = None
    tokens: list[int]
