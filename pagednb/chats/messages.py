"""Between turns and OpenAI's messages.

A question that got no word of an answer, because it failed or was stopped, is left out with its empty answer: the next
question takes its place, and a prompt that was too long once does not spoil the chat for good.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from pagednb.chats.turn import Role, Turn
from pagednb.errors import PromptError

Message = dict[str, str]

_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


def whole_characters(text: str) -> str:
    """Return ``text`` with U+FFFD for each half of a character: browsers cut emojis, and no message can hold a half."""
    return _HALF_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", text)


def messages_of(turns: Iterable[Turn], *, system: str = "") -> list[Message]:
    """Return what the model is told of ``turns``: neither thoughts nor questions that were never answered."""
    told: list[Turn] = []
    for turn in turns:
        if turn.role == "user" or turn.text:
            told.append(turn)
        elif told and told[-1].role == "user":
            told.pop()
    opening = [{"role": "system", "content": system}] if system else []
    return [*opening, *({"role": turn.role, "content": turn.text} for turn in told)]


def spoken(messages: Sequence[Mapping[str, Any]]) -> tuple[str | None, list[tuple[Role, str]]]:
    """Return the system prompt, None without one, and what was said after it.

    Raises:
        PromptError: a message that is no dict of role and text, or of an unknown role; a system message elsewhere.
    """
    system: str | None = None
    said: list[tuple[Role, str]] = []
    for index, message in enumerate(messages):
        role, content = _checked(index, message)
        if role in get_args(Role):
            said.append((role, content))  # type: ignore[arg-type]  # checked above
        elif role == "system" and index == 0:
            system = content
        else:
            raise PromptError(
                f"Message {index} has the role {role!r}.", hint="A chat has one system message at most, the first."
            )
    return system, said


def _checked(index: int, message: Any) -> tuple[str, str]:
    """Return role and content of a message."""
    if not isinstance(message, Mapping):
        raise PromptError(
            f"Message {index} is of type {type(message).__name__}.", hint='Give {"role": ..., "content": ...}.'
        )
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or role not in ("system", *get_args(Role)):
        raise PromptError(f"Message {index} has the role {role!r}.", hint="Use system, user or assistant.")
    if not isinstance(content, str):
        raise PromptError(f"The content of message {index} is of type {type(content).__name__}.", hint="Give text.")
    if _HALF_CHARACTER.search(content):
        raise PromptError(
            f"The content of message {index} is not valid Unicode (it holds a lone surrogate).",
            hint="Clean it with text.encode('utf-8', 'replace').decode().",
        )
    return role, content
