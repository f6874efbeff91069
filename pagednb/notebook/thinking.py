"""Whether a model thinks before it answers: the switch of its chat template."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pagednb.engine.thinking_switch import thinking_switch
from pagednb.errors import OptionError

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine


def template_kwargs(engine: LLMEngine, wish: str) -> dict[str, bool]:
    """Return what the chat template is told for ``wish``: "on", "off", or "auto" for nothing.

    Raises:
        OptionError: the template has no such switch.
    """
    if wish == "auto":
        return {}
    switch = thinking_switch(engine.tokenizer.get_chat_template()) if engine.has_chat_template else None
    if switch is None:
        raise OptionError(
            "This model's chat template has no switch for thinking, so --thinking has no place.",
            hint="Leave it out: the model thinks always or never.",
        )
    return {switch: wish == "on"}
