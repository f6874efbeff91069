"""A row's prompt as the model sees it: the chat template around it, and its tokens. Runs and previews share this."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pagednb.checks import require_unicode
from pagednb.errors import OptionError, PromptError

if TYPE_CHECKING:
    import numpy as np

    from pagednb.engine.llm_engine import LLMEngine


@dataclasses.dataclass(frozen=True)
class Chat:
    """What stands around the text of every row of a run.

    Attributes:
        system: an instruction, for models with a chat template.
        turns: examples, each what was asked and what was answered. A model without chat template gets each as one
            text, the answer right behind what was asked.
        thinks: whether the template may leave room for thinking, where the model has that.
        is_templated: whether the model's chat template, if it has one, stands around the text.

    Raises:
        OptionError: ``system`` is no text, or is not valid Unicode.
    """

    system: str | None = None
    turns: tuple[tuple[str, str], ...] = ()
    thinks: bool = True
    is_templated: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.system, str | None):
            raise OptionError(f"system={self.system!r} is not valid.", hint="Give a text, or leave it out.")
        require_unicode("system", self.system or "")

    def has_template(self, engine: LLMEngine) -> bool:
        """Return whether prompts for this model are rendered chats."""
        return self.is_templated and engine.has_chat_template

    def require_place(self, engine: LLMEngine) -> None:
        """Raise OptionError for a system message that the model has no place for."""
        if self.system is not None and not engine.has_chat_template:
            raise OptionError(
                "This model has no chat template, so it takes no system message.", hint="Leave out system=."
            )

    def as_json(self) -> dict[str, Any]:
        """Return what a run's spec tells of it."""
        return {"system": self.system} | ({"examples": [list(turn) for turn in self.turns]} if self.turns else {})


PLAIN_CHAT = Chat()
NO_CHAT = Chat(is_templated=False)
"""Prompts as they stand, whatever the model."""


def as_model_sees_it(engine: LLMEngine, text: str, chat: Chat) -> str:
    """Return the rendered chat, or for a model without chat template the text behind the examples.

    Raises:
        PromptError: the template refuses the text.
    """
    (seen,) = _rendered(engine, [text], chat)
    return seen


def as_model_sees_them(engine: LLMEngine, texts: Sequence[str], chat: Chat) -> list[str | PromptError]:
    """Return what ``as_model_sees_it`` does for many texts, or what it raises."""
    try:
        return list(_rendered(engine, texts, chat))
    except PromptError as error:
        if len(texts) == 1:
            return [error]
    return [each for text in texts for each in as_model_sees_them(engine, [text], chat)]


def _rendered(engine: LLMEngine, texts: Sequence[str], chat: Chat) -> list[str]:
    if not chat.has_template(engine):
        before = "".join(f"{asked}{answered}\n\n" for asked, answered in chat.turns)
        return [before + text for text in texts]
    messages = [] if chat.system is None else [{"role": "system", "content": chat.system}]
    for asked, answered in chat.turns:
        messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    conversations = [[*messages, {"role": "user", "content": text}] for text in texts]
    return engine.render_chats(conversations, **({} if chat.thinks else {"enable_thinking": False}))


def encode_prompts(engine: LLMEngine, texts: Sequence[str], chat: Chat = PLAIN_CHAT) -> list[np.ndarray]:
    """Return the tokens of prompts as the model sees them, int32 each."""
    # a chat template writes its special tokens itself
    return engine.encode(texts, add_special_tokens=not chat.has_template(engine))
