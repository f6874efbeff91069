"""What a chat template reads, and which of that says whether the model thinks before it answers."""

from __future__ import annotations

import re

_SWITCHES = ("enable_thinking", "thinking")  # Qwen's and most others'; Granite's and DeepSeek's
# what transformers or a caller sets otherwise, and the arguments of transformers' own function
_NOT_SWITCHES = {
    *("messages", "tools", "documents", "add_generation_prompt", "raise_exception", "strftime_now"),
    *(f"{name}_token" for name in ("bos", "eos", "unk", "pad", "sep", "cls", "mask")),
    *("additional_special_tokens", "conversation", "chat_template", "tokenize", "padding", "truncation", "max_length"),
    *("return_tensors", "return_dict", "tokenizer_kwargs", "continue_final_message", "return_assistant_tokens_mask"),
}
_TRAINING_MARK = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")  # transformers' own tag, which jinja does not know


def template_variables(template: str) -> frozenset[str]:
    """Return the names that a chat template reads; none if it has a tag of somebody's own."""
    import jinja2
    import jinja2.meta

    environment = jinja2.Environment(extensions=["jinja2.ext.loopcontrols"], autoescape=False)
    try:
        parsed = environment.parse(_TRAINING_MARK.sub("", template))
    except jinja2.TemplateSyntaxError:  # transformers will say so when it renders
        return frozenset()
    return frozenset(jinja2.meta.find_undeclared_variables(parsed))


def template_switches(template: str) -> frozenset[str]:
    """Return the names that a chat template reads and that a caller may set."""
    return template_variables(template) - _NOT_SWITCHES


def thinking_switch(template: str) -> str | None:
    """Return the name of the variable by which a chat template is told whether to think; None if it reads none."""
    names = template_variables(template)
    return next((name for name in _SWITCHES if name in names), None)
