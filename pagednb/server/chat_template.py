"""What the model's chat template is able to lay out: read from its source, once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pagednb.engine.thinking_switch import template_switches, template_variables
from pagednb.server.api_error import ApiError
from pagednb.server.tools.tool_format import FORMATS, ToolFormat, format_of_template

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine

_THOUGHT_MARKS = {"<think>", "</think>"}


@dataclasses.dataclass(frozen=True)
class ChatTemplate:
    """What requests can ask of it.

    Attributes:
        switches: variables that a request may set.
        takes_tools: whether the template lays out tools itself.
        tool_format: how the model writes calls.
        model_thinks: whether the model has tokens that mark its thoughts.
    """

    switches: frozenset[str]
    takes_tools: bool
    tool_format: ToolFormat
    model_thinks: bool

    @classmethod
    def of(cls, engine: LLMEngine, tool_format: str | None) -> ChatTemplate:
        """Read the template of the engine's model; ``tool_format`` names one, else the template tells."""
        template = str(engine.tokenizer.get_chat_template()) if engine.has_chat_template else ""
        chosen = format_of_template(template) if tool_format is None else FORMATS[tool_format]
        thinks = set(engine.added_tokens.values()) >= _THOUGHT_MARKS
        return cls(template_switches(template), "tools" in template_variables(template), chosen, thinks)

    def checked(self, kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return a request's ``chat_template_kwargs``. Raises ApiError for one that the template does not read."""
        for name in kwargs or {}:
            if name not in self.switches:
                known = ", ".join(sorted(self.switches)) or "none"
                raise ApiError(
                    f"This model's chat template does not read {name!r}. It reads: {known}.",
                    param="chat_template_kwargs",
                )
        return dict(kwargs or {})
