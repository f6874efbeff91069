"""Whether a model thinks before it answers: the switch of its chat template."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pagednb.errors import OptionError

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine

_SWITCHES = ("enable_thinking", "thinking")  # Qwen's and most others'; Granite's and DeepSeek's
_TRAINING_MARK = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")  # transformers' own tag, which jinja does not know


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


def thinking_switch(template: str) -> str | None:
    """Return the name of the variable by which a chat template is told whether to think; None if it reads none."""
    import jinja2
    import jinja2.meta

    environment = jinja2.Environment(extensions=["jinja2.ext.loopcontrols"], autoescape=False)
    try:
        names = jinja2.meta.find_undeclared_variables(environment.parse(_TRAINING_MARK.sub("", template)))
    except jinja2.TemplateSyntaxError:  # a tag of somebody's own; transformers will say so when it renders
        return None
    return next((name for name in _SWITCHES if name in names), None)
