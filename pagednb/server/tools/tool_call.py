"""A call that a model has written, and how one is read from JSON."""

from __future__ import annotations

import dataclasses
import json
import secrets
import string
from typing import Any

_LETTERS = string.ascii_letters + string.digits
_ID_LENGTH = 9
"""Mistral's templates take ids of this length only, everybody else takes any."""


def new_call_id() -> str:
    """Return an id that is unique among a conversation's calls."""
    return "".join(secrets.choice(_LETTERS) for _ in range(_ID_LENGTH))


@dataclasses.dataclass(frozen=True, slots=True)
class ToolCall:
    """A function's name, and its arguments as JSON text."""

    name: str
    arguments: str
    call_id: str = dataclasses.field(default_factory=new_call_id)

    def as_dict(self) -> dict[str, Any]:
        """Return OpenAI's shape."""
        function = {"name": self.name, "arguments": self.arguments}
        return {"id": self.call_id, "type": "function", "function": function}


Piece = str | ToolCall
"""What a reader finds: text that is shown, or a call."""


def call_from(value: Any) -> ToolCall | None:
    """Return the call that a JSON value is: an object with a name and arguments (Llama: parameters); else None."""
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    arguments = value.get("arguments", value.get("parameters", {}))
    if isinstance(arguments, str):  # some models write the arguments as JSON within JSON
        return ToolCall(value["name"], arguments)
    return ToolCall(value["name"], json.dumps(arguments, ensure_ascii=False)) if isinstance(arguments, dict) else None


def calls_from_text(text: str, separators: str = " \n\t\r;,") -> list[ToolCall] | None:
    """Return the calls of JSON objects, or of lists of them, that follow one another; None if anything else is there.

    ``separators`` may stand between them.
    """
    decoder, place = json.JSONDecoder(), 0
    calls: list[ToolCall | None] = []
    text = text.strip(separators)
    while place < len(text):
        try:
            value, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            return None
        calls += [call_from(item) for item in (value if isinstance(value, list) else [value])]
        place = len(text) - len(text[place:].lstrip(separators))
    found = [call for call in calls if call is not None]
    return found if found and len(found) == len(calls) else None
