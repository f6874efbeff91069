"""The ways in which models write tool calls, and how to tell from a chat template which is this model's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from pagednb.server.tools.tool_reader import HermesReader, LlamaReader, MistralReader, ToolReader


@dataclasses.dataclass(frozen=True, slots=True)
class ToolFormat:
    """One way. With ``marks_are_special`` calls are marked by special tokens, which the text must then show."""

    name: str
    make_reader: Callable[[], ToolReader]
    marks_are_special: bool


HERMES = ToolFormat("hermes", HermesReader, marks_are_special=False)
FORMATS: Mapping[str, ToolFormat] = {
    "hermes": HERMES,
    "llama3_json": ToolFormat("llama3_json", LlamaReader, marks_are_special=True),
    "mistral": ToolFormat("mistral", MistralReader, marks_are_special=True),
}


def format_of_template(template: str) -> ToolFormat:
    """Return the format that a chat template teaches; Hermes' where it teaches none."""
    if "<tool_call>" in template:
        return HERMES
    if "[TOOL_CALLS]" in template:
        return FORMATS["mistral"]
    if "<|python_tag|>" in template or '"parameters": dictionary' in template:
        return FORMATS["llama3_json"]
    return HERMES
