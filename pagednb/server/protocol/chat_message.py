"""One message of a conversation, as clients send it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator
from pydantic_core import PydanticCustomError

from pagednb.server.protocol.body import Body, unused


class TextPart(Body):
    """A piece of a message's content; pictures and sounds are not built."""

    type: Literal["text"]
    text: str


class CalledFunction(Body):
    """What the model called; ``arguments`` is JSON as text."""

    name: str
    arguments: str


class SentToolCall(Body):
    """A call of an earlier turn, sent back."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction
    index: Any = unused()


class ChatMessage(Body):
    """A turn. ``developer`` is OpenAI's newer name of ``system``."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    tool_calls: list[SentToolCall] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    refusal: Any = unused()
    annotations: Any = unused()
    audio: None = None
    function_call: None = None

    @field_validator("content", mode="before")
    @classmethod
    def _refuse_media(cls, content: Any) -> Any:
        for part in content if isinstance(content, list) else ():
            kind = part.get("type", "text") if isinstance(part, dict) else "text"
            if kind != "text":
                sentence = "A part of type {kind} is no text, and models of pictures or sound are not built yet"
                raise PydanticCustomError("no_text", sentence, {"kind": repr(kind)})
        return content
