"""The switch of a chat template that says whether the model thinks before it answers."""

from __future__ import annotations

import re

_SWITCHES = ("enable_thinking", "thinking")  # Qwen's and most others'; Granite's and DeepSeek's
_TRAINING_MARK = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")  # transformers' own tag, which jinja does not know


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
