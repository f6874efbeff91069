"""Tool calls in every format and thoughts come out apart, the same in one piece and as a stream."""

from __future__ import annotations

import json

import openai
import pytest
from support.scripted_model import PLAIN_TEMPLATE, scripted_model, texts_of
from support.served import start

CHAT = [{"role": "user", "content": "Weather in Oslo and Rome?"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "Now.", "parameters": PARAMETERS}}]
OSLO, ROME = {"city": "Oslo"}, {"city": "Rome"}
HERMES_TEMPLATE = "{% if tools %}<tools>{{ tools | tojson }}</tools><tool_call>{% endif %}" + PLAIN_TEMPLATE
LLAMA_TEMPLATE = "{% if tools %}<|python_tag|>{{ tools | tojson }}{% endif %}" + PLAIN_TEMPLATE
MISTRAL_TEMPLATE = "{% if tools %}[TOOL_CALLS]{{ tools | tojson }}{% endif %}" + PLAIN_TEMPLATE


def hermes(arguments: dict) -> str:
    return f"<tool_call>\n{json.dumps({'name': 'weather', 'arguments': arguments})}\n</tool_call>"


def llama(arguments: dict) -> str:
    return json.dumps({"name": "weather", "parameters": arguments})


MISTRAL = json.dumps([{"name": "weather", "arguments": OSLO}, {"name": "weather", "arguments": ROME}])
TWO_CALLS = [
    (HERMES_TEMPLATE, f"{hermes(OSLO)}\n{hermes(ROME)}", ""),
    (HERMES_TEMPLATE, f"Let me look.\n\n{hermes(OSLO)}{hermes(ROME)}\n", "Let me look."),
    (HERMES_TEMPLATE, f"A < b.\n{hermes(OSLO)}\n{hermes(ROME).removesuffix('</tool_call>')}", "A < b."),
    (PLAIN_TEMPLATE, f"{hermes(OSLO)}\n{hermes(ROME)}", ""),
    (LLAMA_TEMPLATE, f"{llama(OSLO)}; {llama(ROME)}", ""),
    (LLAMA_TEMPLATE, f"<|python_tag|>{llama(OSLO)}\n{llama(ROME)}", ""),
    (MISTRAL_TEMPLATE, f"[TOOL_CALLS]{MISTRAL}", ""),
    (MISTRAL_TEMPLATE, f"Sure: [TOOL_CALLS] {MISTRAL}", "Sure:"),
    (MISTRAL_TEMPLATE, f"[TOOL_CALLS]weather[ARGS]{json.dumps(OSLO)}[TOOL_CALLS]weather{json.dumps(ROME)}", ""),
]
NO_CALLS = [
    (HERMES_TEMPLATE, "No <tool is called, nor </tool_call> meant."),
    (HERMES_TEMPLATE, "<tool_call>this is no JSON</tool_call>"),
    (LLAMA_TEMPLATE, '{"weather": "fine"}'),
    (LLAMA_TEMPLATE, "It is fine."),
    (MISTRAL_TEMPLATE, "[TOOL_CALLS] none"),
    (MISTRAL_TEMPLATE, "[TOOL is no mark]"),
]


def ask(answer: str, *, stream: bool, template: str, added_tokens: tuple = (), **options) -> tuple[dict, list[str]]:
    """Return what a client gathers of an answer, and the prompts that the model saw."""
    engine, executor = scripted_model(answer, chat_template=template, added_tokens=added_tokens)
    server = start(engine)
    body = {"messages": CHAT, **options}
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        answer = client.chat.completions.create(model="m", stream=stream, **body)
        gathered = gather(answer) if stream else of_message(answer.choices[0])
    server.stop()
    engine.shutdown()
    return gathered, texts_of(executor)


def of_message(choice) -> dict:
    calls = [(call.function.name, json.loads(call.function.arguments)) for call in choice.message.tool_calls or ()]
    thought = getattr(choice.message, "reasoning_content", None) or ""
    return {"content": choice.message.content or "", "thought": thought, "calls": calls, "end": choice.finish_reason}


def gather(chunks) -> dict:
    content, thought, calls, end = "", "", {}, None
    for chunk in chunks:
        (choice,) = chunk.choices
        content += choice.delta.content or ""
        thought += getattr(choice.delta, "reasoning_content", None) or ""
        for call in choice.delta.tool_calls or ():
            name, arguments = calls.get(call.index, ("", ""))
            calls[call.index] = (name + (call.function.name or ""), arguments + (call.function.arguments or ""))
        assert end is None
        end = choice.finish_reason
    assert sorted(calls) == list(range(len(calls)))
    in_order = [(name, json.loads(arguments)) for _, (name, arguments) in sorted(calls.items())]
    return {"content": content, "thought": thought, "calls": in_order, "end": end}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("template", "answer", "content"), TWO_CALLS)
def test_calls_are_found(template: str, answer: str, content: str, stream: bool) -> None:
    gathered, (prompt,) = ask(answer, stream=stream, template=template, tools=TOOLS)
    calls = [("weather", OSLO), ("weather", ROME)]
    assert gathered == {"content": content, "thought": "", "calls": calls, "end": "tool_calls"}
    assert '"description": "Now."' in prompt


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("template", "answer"), NO_CALLS)
def test_what_only_looks_like_a_call_is_text(template: str, answer: str, stream: bool) -> None:
    gathered, _ = ask(answer, stream=stream, template=template, tools=TOOLS)
    assert gathered == {"content": answer, "thought": "", "calls": [], "end": "stop"}


@pytest.mark.parametrize("stream", [False, True])
def test_without_tools_or_with_none_chosen_a_call_is_text(stream: bool) -> None:
    for options in ({}, {"tools": TOOLS, "tool_choice": "none"}):
        gathered, (prompt,) = ask(hermes(OSLO), stream=stream, template=HERMES_TEMPLATE, **options)
        assert (gathered["content"], gathered["calls"]) == (hermes(OSLO), [])
        assert "<tools>" not in prompt


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("opened_by_template", [False, True])
def test_thoughts_come_apart(stream: bool, opened_by_template: bool) -> None:
    said = f"Oslo is < Rome, I think.</think>\n\n{hermes(OSLO)}\n{hermes(ROME)}"
    template = HERMES_TEMPLATE + ("<think>\n" if opened_by_template else "")
    answer = said if opened_by_template else f"<think>{said}"
    marks = () if opened_by_template else ("<think>", "</think>")  # one of the two tells that the model thinks
    gathered, _ = ask(answer, stream=stream, template=template, added_tokens=marks, tools=TOOLS)
    assert gathered == {
        "content": "",
        "thought": "Oslo is < Rome, I think.",
        "calls": [("weather", OSLO), ("weather", ROME)],
        "end": "tool_calls",
    }


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_does_not_think_may_write_of_it(stream: bool) -> None:
    text = "<think>is a tag.</think>\n\nSo it is."
    assert ask(text, stream=stream, template=PLAIN_TEMPLATE)[0]["content"] == text
    gathered, _ = ask(text, stream=stream, template=PLAIN_TEMPLATE, added_tokens=("<think>", "</think>"))
    assert (gathered["thought"], gathered["content"]) == ("is a tag.", "So it is.")


def test_an_answer_without_a_word_has_a_role_and_an_end() -> None:
    engine, _ = scripted_model("")
    server = start(engine)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        (chunk,) = client.chat.completions.create(model="m", messages=CHAT, stream=True)
    server.stop()
    engine.shutdown()
    assert (chunk.choices[0].delta.role, chunk.choices[0].finish_reason) == ("assistant", "stop")


@pytest.mark.parametrize("template", [HERMES_TEMPLATE, PLAIN_TEMPLATE])
def test_earlier_calls_and_their_results_reach_the_model(template: str) -> None:
    call = {"id": "abc", "type": "function", "function": {"name": "weather", "arguments": json.dumps(OSLO)}}
    messages = [
        {"role": "system", "content": "Be brief."},
        *CHAT,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "abc", "content": "rain over Oslo"},
    ]
    engine, executor = scripted_model("It rains.", chat_template=template)
    server = start(engine)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        answer = client.chat.completions.create(model="m", messages=messages, tools=TOOLS)
    server.stop()
    engine.shutdown()
    assert answer.choices[0].message.content == "It rains."
    (prompt,) = texts_of(executor)
    assert "rain over Oslo" in prompt and "Be brief." in prompt
    if template is PLAIN_TEMPLATE:  # knows neither tools nor their results
        assert f"[assistant]{hermes(OSLO)}" in prompt.replace("\\", "")
        assert "[user]<tool_response>\nrain over Oslo\n</tool_response>" in prompt
        assert "You may call functions." in prompt


def test_the_server_can_be_told_the_format() -> None:
    engine, _ = scripted_model(llama(OSLO))
    server = start(engine, tool_format="llama3_json")
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        answer = client.chat.completions.create(model="m", messages=CHAT, tools=TOOLS)
    server.stop()
    engine.shutdown()
    assert of_message(answer.choices[0])["calls"] == [("weather", OSLO)]
