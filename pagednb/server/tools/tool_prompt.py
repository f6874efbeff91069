"""Tools for models whose chat template has no place for them: told in a system message, in Hermes' format."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

Message = dict[str, Any]

_INTRODUCTION = """\
You may call functions. They are described by these JSON objects:
<tools>
{tools}
</tools>
To call one, answer with its name and arguments as JSON within tags, once for each call:
<tool_call>
{{"name": <name>, "arguments": <arguments>}}
</tool_call>"""


def with_tools_told(messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> list[Message]:
    """Return messages with system, user and assistant turns of plain text only, which tell the same."""
    plain = [_as_text(message) for message in messages]
    if not tools:
        return plain
    introduction = _INTRODUCTION.format(tools="\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools))
    if plain[0]["role"] == "system":
        return [{"role": "system", "content": f"{plain[0]['content']}\n\n{introduction}"}, *plain[1:]]
    return [{"role": "system", "content": introduction}, *plain]


def _as_text(message: Message) -> Message:
    content = message.get("content") or ""
    if message["role"] == "tool":
        return {"role": "user", "content": f"<tool_response>\n{content}\n</tool_response>"}
    calls = message.get("tool_calls")
    if not calls:
        return message
    lines = [f"<tool_call>\n{json.dumps(call['function'], ensure_ascii=False)}\n</tool_call>" for call in calls]
    return {"role": "assistant", "content": "\n".join([content, *lines]).lstrip()}
