"""What ``LLM.chat`` is given, as chat templates take it: messages of plain text, and arguments that they read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pagednb.checks import require, require_flags
from pagednb.engine.thinking_switch import template_switches, template_variables
from pagednb.errors import OptionError, PromptError

Message = Mapping[str, Any]


def template_arguments(
    tokenizer: Any,
    *,
    chat_template: str | None,
    tools: Sequence[Mapping[str, Any]] | None,
    add_generation_prompt: bool,
    continue_final_message: bool,
    chat_template_kwargs: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the arguments of ``render_chat``; ``tokenizer`` is transformers' object.

    Raises:
        OptionError: a value of a wrong type, an opening of an answer that goes on, or tools or switches that the
            template does not read.
    """
    require_flags(add_generation_prompt=add_generation_prompt, continue_final_message=continue_final_message)
    is_text = chat_template is None or (isinstance(chat_template, str) and chat_template != "")
    require(is_text, "chat_template", chat_template, "a template as text, or left out")
    is_list = isinstance(tools, Sequence | None) and not isinstance(tools, str)
    require(is_list, "tools", tools, "a list of OpenAI's tools")
    require(isinstance(chat_template_kwargs, Mapping | None), "chat_template_kwargs", chat_template_kwargs, "a dict")
    if continue_final_message and add_generation_prompt:
        raise OptionError(
            "continue_final_message=True goes on with the last message, so no answer is opened.",
            hint="Give add_generation_prompt=False with it.",
        )
    arguments: dict[str, Any] = {"add_generation_prompt": add_generation_prompt}
    arguments |= {"continue_final_message": True} if continue_final_message else {}
    arguments |= {} if chat_template is None else {"chat_template": chat_template}
    arguments |= {"tools": list(tools)} if tools else {}
    if tools or chat_template_kwargs:
        template = chat_template if chat_template is not None else (tokenizer.chat_template or "")
        if not isinstance(template, str):  # several templates under names: the one for tools is another
            template = tokenizer.get_chat_template(tools=tools)
        _require_read(template, tools, chat_template_kwargs or {})
    return {**arguments, **(chat_template_kwargs or {})}


def conversations_of(messages: Any) -> list[Any]:
    """Return conversations, of one or of a list of them, with messages as templates want them.

    Contents in parts become one text, and arguments of calls become objects. What is no conversation or message is
    left as it stands, for whoever lays messages out to refuse.

    Raises:
        PromptError: a part that is no text, or arguments that are no JSON.
    """
    is_batch = _is_list(messages) and len(messages) > 0 and _is_list(messages[0])
    return [
        [_plain_message(message) for message in each] if _is_list(each) else each
        for each in (messages if is_batch else [messages])
    ]


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _plain_message(message: Any) -> Any:
    if not isinstance(message, Mapping):
        return message
    plain = dict(message)
    if isinstance(content := message.get("content"), list | tuple):
        plain["content"] = "\n".join(_text_of(part) for part in content)
    if isinstance(calls := message.get("tool_calls"), list | tuple):
        plain["tool_calls"] = [_plain_call(call) for call in calls]
    return plain


def _require_read(template: str, tools: Any, kwargs: Mapping[str, Any]) -> None:
    if tools and "tools" not in template_variables(template):
        raise OptionError(
            "This model's chat template does not read tools.",
            hint="Describe them in a message, or give chat_template=.",
        )
    switches = template_switches(template)
    for name in kwargs:
        if name not in switches:
            known = ", ".join(sorted(switches)) or "none"
            raise OptionError(f"This model's chat template does not read {name!r}.", hint=f"It reads: {known}.")


def _text_of(part: Any) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    if kind != "text" or not isinstance(part.get("text"), str):
        raise PromptError(
            f"A message has a part of type {kind!r}, which is no text.",
            hint="Give text: pictures and sound are not built yet.",
        )
    return str(part["text"])


def _plain_call(call: Any) -> Any:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("arguments"), str):
        return call
    try:
        arguments = json.loads(function["arguments"] or "{}")
    except (ValueError, RecursionError):
        raise PromptError(
            "The arguments of a tool call are not valid JSON.", hint="Give what the model wrote, or a dict."
        ) from None
    return {**call, "function": {**function, "arguments": arguments}}
