"""What a request says of tools: which the model sees, whether it must call one, and how its answer is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from pagednb.server.api_error import ApiError
from pagednb.server.protocol.chat_request import ChatRequest, Function, NamedTool
from pagednb.server.tools.tool_format import ToolFormat
from pagednb.server.tools.tool_reader import ForcedReader, ToolReader

NO_PARAMETERS = {"type": "object", "properties": {}}


@dataclasses.dataclass(frozen=True, slots=True)
class ToolChoice:
    """``tools`` go to the chat template; ``schema`` is what an answer must fit if a call is required.

    ``forced_name``: the one function that is called in any case.
    """

    tools: tuple[dict[str, Any], ...] = ()
    is_forced: bool = False
    forced_name: str | None = None
    schema: dict[str, Any] | None = None

    def reader(self, tool_format: ToolFormat) -> ToolReader | None:
        """Return what finds calls in one answer; None if there can be none."""
        if not self.tools:
            return None
        return ForcedReader(self.forced_name) if self.is_forced else tool_format.make_reader()


def tool_choice_of(body: ChatRequest) -> ToolChoice:
    """Return what ``body`` says.

    Raises:
        ApiError: a choice without tools, of a tool that is not there, or together with another form of answer.
    """
    choice = body.tool_choice
    if not body.tools:
        if choice not in (None, "none", "auto"):
            raise ApiError("tool_choice asks for a call, and there are no tools.", param="tool_choice")
        return ToolChoice()
    if choice == "none":
        return ToolChoice()
    functions = {tool.function.name: tool.function for tool in body.tools}
    if len(functions) < len(body.tools):
        raise ApiError("Two tools have one name.", param="tools")
    tools = tuple(tool.model_dump(exclude_none=True, exclude={"function": {"strict"}}) for tool in body.tools)
    if choice in (None, "auto"):
        return ToolChoice(tools)
    if body.response_format is not None and body.response_format.type != "text":
        raise ApiError("A required tool call and a response_format exclude each other.", param="tool_choice")
    if isinstance(choice, NamedTool):
        name = choice.function.name
        if name not in functions:
            raise ApiError(f"tool_choice names {name!r}, which is none of the tools.", param="tool_choice")
        return ToolChoice(tools, True, name, functions[name].parameters or NO_PARAMETERS)
    is_single = body.parallel_tool_calls is False
    return ToolChoice(tools, True, None, _list_schema(functions, is_single=is_single))


def _list_schema(functions: Mapping[str, Function], *, is_single: bool) -> dict[str, Any]:
    """Return the schema of a list of calls, or of exactly one."""
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": name}, "arguments": {"$ref": f"#/$defs/{name}"}},
            "required": ["name", "arguments"],
        }
        for name in functions
    ]
    parameters = {name: _moved(function.parameters or NO_PARAMETERS, name) for name, function in functions.items()}
    limits = {"minItems": 1, **({"maxItems": 1} if is_single else {})}
    return {"$defs": parameters, "type": "array", "items": {"anyOf": calls}, **limits}


def _moved(schema: Any, name: str) -> Any:
    """Return a schema as it must read when it stands at ``#/$defs/name``: its references begin there, too."""
    if isinstance(schema, list):
        return [_moved(item, name) for item in schema]
    if not isinstance(schema, dict):
        return schema
    moved = {key: _moved(value, name) for key, value in schema.items()}
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = f"#/$defs/{name}{reference[1:]}"
    return moved
