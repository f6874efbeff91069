"""A row's prompt as the model sees it: the chat template around it, and its tokens. Runs and previews share this."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pagednb.errors import OptionError

if TYPE_CHECKING:
    import numpy as np

    from pagednb.engine.llm_engine import LLMEngine


def require_chat_template_for(system: str | None, engine: LLMEngine) -> None:
    """Raise OptionError for a system message that the model has no place for."""
    if system is not None and not engine.has_chat_template:
        raise OptionError("This model has no chat template, so it takes no system message.", hint="Leave out system=.")


def as_model_sees_it(engine: LLMEngine, text: str, system: str | None) -> str:
    """Return the rendered chat of ``[system, user]``, or the text as it stands for a model without chat template.

    Raises:
        PromptError: the template refuses the text.
    """
    if not engine.has_chat_template:
        return text
    messages = [{"role": "user", "content": text}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    return engine.render_chat(messages)


def encode_prompts(engine: LLMEngine, texts: Sequence[str]) -> list[np.ndarray]:
    """Return the tokens of prompts as the model sees them, int32 each."""
    # a chat template writes its special tokens itself
    return engine.encode(texts, add_special_tokens=not engine.has_chat_template)
