"""What the model's chat template is able to lay out: read from its source, once."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pagednb.server.api_error import ApiError
from pagednb.server.tools.tool_format import FORMATS, ToolFormat, format_of_template

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine

_TRAINING_MARK = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")  # transformers' own tag, which jinja does not know
# what transformers or this server sets, and the arguments of transformers' own function
_NOT_SWITCHES = {
    *("messages", "tools", "documents", "add_generation_prompt", "raise_exception", "strftime_now"),
    *(f"{name}_token" for name in ("bos", "eos", "unk", "pad", "sep", "cls", "mask")),
    *("additional_special_tokens", "conversation", "chat_template", "tokenize", "padding", "truncation", "max_length"),
    *("return_tensors", "return_dict", "tokenizer_kwargs", "continue_final_message", "return_assistant_tokens_mask"),
}


@dataclasses.dataclass(frozen=True)
class ChatTemplate:
    """``switches``: variables that a request may set; ``takes_tools``: whether the template lays out tools itself."""

    switches: frozenset[str]
    takes_tools: bool
    tool_format: ToolFormat

    @classmethod
    def of(cls, engine: LLMEngine, tool_format: str | None) -> ChatTemplate:
        """Read the template of the engine's model; ``tool_format`` names one, else the template tells."""
        template = str(engine.tokenizer.get_chat_template()) if engine.has_chat_template else ""
        names = _variables(template)
        chosen = format_of_template(template) if tool_format is None else FORMATS[tool_format]
        return cls(frozenset(names - _NOT_SWITCHES), "tools" in names, chosen)

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


def _variables(template: str) -> set[str]:
    import jinja2
    import jinja2.meta

    environment = jinja2.Environment(extensions=["jinja2.ext.loopcontrols"], autoescape=False)
    try:
        return set(jinja2.meta.find_undeclared_variables(environment.parse(_TRAINING_MARK.sub("", template))))
    except jinja2.TemplateSyntaxError:  # a tag of somebody's own; transformers will say so when it renders
        return set()
