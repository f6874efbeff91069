"""From a conversation as clients send it to the token ids of a prompt."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pagednb.errors import PagednbError
from pagednb.server.api_error import ApiError, as_api_error
from pagednb.server.chat_template import ChatTemplate
from pagednb.server.prompts import SHORT_TEXT_CHARS, TokenIds
from pagednb.server.protocol.chat_message import ChatMessage
from pagednb.server.tools.tool_prompt import with_tools_told

if TYPE_CHECKING:
    from pagednb.server.desk import Desk


@dataclasses.dataclass(frozen=True, slots=True)
class ChatPrompt:
    """A conversation laid out; ``is_thinking``: the template has opened a thought for the answer to go on with."""

    token_ids: TokenIds
    is_thinking: bool


async def chat_prompt(
    desk: Desk,
    template: ChatTemplate,
    messages: Sequence[ChatMessage],
    tools: Sequence[dict[str, Any]] = (),
    **template_kwargs: Any,
) -> ChatPrompt:
    """Lay ``messages`` out, on another thread where they are long.

    Raises:
        ApiError: the model has no chat template, or it refuses these messages.
    """
    plain = [_plain(message) for message in messages]
    if not template.takes_tools:
        plain = with_tools_told(plain, tools)
    elif tools:
        template_kwargs["tools"] = list(tools)

    def lay_out() -> ChatPrompt:
        prompt = desk.engine.chat_prompt(plain, **template_kwargs)
        return ChatPrompt(prompt["prompt_token_ids"], prompt["prompt"].rstrip().endswith("<think>"))

    num_chars = sum(len(message["content"] or "") for message in plain)
    try:
        return lay_out() if num_chars <= SHORT_TEXT_CHARS and not tools else await desk.apart(lay_out)
    except PagednbError as error:
        raise as_api_error(error) from None


def _plain(message: ChatMessage) -> dict[str, Any]:
    """Return the message as chat templates know it."""
    content = message.content
    if isinstance(content, list):
        content = "\n".join(part.text for part in content)
    if content is None and not message.tool_calls:
        content = ""
    plain: dict[str, Any] = {"role": "system" if message.role == "developer" else message.role, "content": content}
    if message.tool_calls:
        plain["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.function.name, "arguments": _arguments(call.function.arguments)},
            }
            for call in message.tool_calls
        ]
    for name in ("name", "tool_call_id", "reasoning_content"):
        if (value := getattr(message, name)) is not None:
            plain[name] = value
    return plain


def _arguments(text: str) -> Any:
    """Return a call's arguments as an object: templates write them out themselves."""
    try:
        return json.loads(text or "{}")
    except (ValueError, RecursionError):
        raise ApiError("The arguments of a tool call are not valid JSON.", param="messages") from None
