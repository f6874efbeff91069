"""How answers look in every format: safe wherever a notebook is opened, and whole for exporters."""

from __future__ import annotations

import json
from typing import Any

import nbformat
import pytest
from nbconvert import HTMLExporter, MarkdownExporter
from support.scripted_engine import ScriptedEngine
from support.shell import RaisingShell

from pagednb.notebook.answer_format import ANSWER_FORMATS, CURSOR
from pagednb.notebook.conversation import Conversation
from pagednb.rendering.fences import first_code_block
from pagednb.rendering.output_html import GrowingMarkdown

ATTACK = """# Hi <script>alert(1)</script>

<img src=x onerror=alert(1)> [x](javascript:alert(1))

```html
<b onclick=a>
```
"""
MARKDOWN = """# Title

Costs $5 and **$6**, $x^2$.

- one
- two
  1. three

```python
def f(a: int) -> str:
    return "<b>"
```

| a | b |
|---|---|
| 1 | 2 |

The end.
"""


def steps_of(text: str, size: int = 5) -> list[str]:
    return [text[:end] for end in range(0, len(text), size)]


@pytest.mark.parametrize("name", ANSWER_FORMATS)
def test_a_hostile_text_is_inert_in_every_format(name: str) -> None:
    """JupyterLab runs what it finds in HTML, and in markdown where there is no HTML, of a cell that was executed."""
    live = ANSWER_FORMATS[name].live()
    bundles = [live([text]) for text in steps_of(ATTACK)] + [ANSWER_FORMATS[name].final([ATTACK], "stopped")]
    for bundle in bundles:
        shown = bundle.get("text/html", "")
        assert not any(mark in shown for mark in ("<script", "<img", "<b onclick", 'href="javascript'))
        assert "text/html" in bundle or "text/markdown" not in bundle


def test_a_growing_text_ends_as_the_whole_one() -> None:
    view = GrowingMarkdown()
    shown = [view.html(text) for text in [*steps_of(MARKDOWN), MARKDOWN]]
    assert all(each.count(CURSOR) == 1 for each in shown)
    assert "The end. ▌</p>" in shown[-1] and "<table>" in shown[-1]
    assert view.html("something else") == "<p>something else ▌</p>"


def test_prose_brings_no_stylesheet_and_code_does() -> None:
    final = ANSWER_FORMATS["markdown"].final
    assert "<style>" not in final(["Some **prose**, $5."], None)["text/html"]
    shown = final([MARKDOWN], None)["text/html"]
    assert shown.startswith("<style>.pnb-markdown:not(#pnb) {") and shown.count("<style>") == 1
    assert len(shown) < 12_000


def test_several_answers_stand_apart() -> None:
    shown = ANSWER_FORMATS["markdown"].final(["```\na", "b"], "cut")
    assert "<hr>" in shown["text/html"] and shown["text/html"].index("<hr>") < shown["text/html"].index("<p>b</p>")
    assert "<p><em>cut</em></p>" in shown["text/html"]
    assert shown["text/markdown"] == "```\na\n```\n\n---\n\nb\n\n*cut*"


def test_exporters_show_the_answer() -> None:
    bundle = ANSWER_FORMATS["markdown"].final([MARKDOWN], None)
    output = nbformat.v4.new_output("display_data", bundle)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("%%generate", outputs=[output])])
    page, _ = HTMLExporter().from_notebook_node(notebook)
    assert "<td>1</td>" in page and '<span class="pnb-k">def</span>' in page
    text, _ = MarkdownExporter().from_notebook_node(notebook)
    assert "The end." in text


@pytest.mark.parametrize(
    ("answer", "shown", "text"),
    [
        ('{"a": [1]}', {"application/json": {"a": [1]}}, '{\n  "a": [\n    1\n  ]\n}'),
        ("3", {}, "3"),
    ],
)
def test_json_is_shown_as_values(answer: str, shown: dict[str, Any], text: str) -> None:
    assert ANSWER_FORMATS["json"].final([answer], None) == {**shown, "text/plain": text}


def test_json_that_is_cut_is_shown_as_text() -> None:
    bundle = ANSWER_FORMATS["json"].final(['{"a": 1'], None)
    assert "not valid JSON" in bundle["text/html"] and "application/json" not in bundle
    assert json.dumps(bundle)


def test_html_is_shown_without_what_could_run(shell: RaisingShell, engine: ScriptedEngine) -> None:
    engine.answer = "```html\n<h1 onclick='a()'>Hi</h1><script>b()</script><table><tr><td>1</td></tr></table>\n```"
    shell.run("%%generate -f html\nhi")
    shown = shell.outputs[-1].data["text/html"]
    assert "<h1>Hi</h1>" in shown and "<td>1</td>" in shown
    assert "script" not in shown and "onclick" not in shown


def test_the_code_format_offers_the_next_cell(shell: RaisingShell, engine: ScriptedEngine) -> None:
    offered: list[str] = []
    shell.shell.set_next_input = lambda text, replace=False: offered.append(text)
    engine.answer = "print(1)"
    shell.run("%%generate -f code\nhi")
    assert offered == ["print(1)"]
    assert 'data-language="python"' in shell.outputs[-1].data["text/html"]


@pytest.mark.parametrize(
    ("text", "code"),
    [("a\n```py\nx\n```\nb", "x"), ("x", "x"), ("```\nx", "x"), ("~~~\n```\n~~~", "```"), ("````\n```\n````", "```")],
)
def test_the_first_block_of_code(text: str, code: str) -> None:
    assert first_code_block(text) == code


def test_a_conversation_is_shown_safely() -> None:
    conversation = Conversation().asked("hi").answered(ATTACK)
    assert "<script" not in conversation._repr_html_() and "<strong>user</strong>" in conversation._repr_html_()
    assert "nothing was said yet" in Conversation()._repr_html_()


THOUGHTFUL = "<think>\nFirst `x`.\n</think>\n\n{answer}"


def test_thoughts_grow_and_are_folded_away() -> None:
    live, text = ANSWER_FORMATS["markdown"].live(), THOUGHTFUL.format(answer="So *y*.")
    thinking, answering = (live([text[:end]])["text/html"] for end in (20, len(text)))
    assert "<details open>" in thinking and thinking.count(CURSOR) == 1
    assert "<details>" in answering and answering.count(CURSOR) == 1 and "<em>y</em>" in answering
    final = ANSWER_FORMATS["markdown"].final([text], None)
    assert "<details><summary>Thoughts</summary>\n<p>First <code>x</code>.</p>\n</details>" in final["text/html"]
    assert final["text/markdown"] == "So *y*." and final["text/plain"] == text


@pytest.mark.parametrize(
    ("name", "answer", "kind"), [("json", '{"a": 1}', "application/json"), ("html", "<b>x</b>", "text/html")]
)
def test_thoughts_are_no_part_of_a_value(name: str, answer: str, kind: str) -> None:
    shown = ANSWER_FORMATS[name].final([THOUGHTFUL.format(answer=answer)], None)
    assert "First" not in str(shown[kind])


def test_thoughts_are_kept_out_of_conversation_and_next_cell(shell: RaisingShell, engine: ScriptedEngine) -> None:
    offered: list[str] = []
    shell.shell.set_next_input = lambda text, replace=False: offered.append(text)
    engine.answer = "<think> ```a``` </think> print(1)"
    shell.run("%%generate -f code --chat Ada\nhi")
    assert offered == ["print(1)"] == [shell.run("%llm history Ada").messages[-1]["content"]]
    assert shell.names["_llm"].text == engine.answer


def test_a_prompt_that_ends_in_the_opening_tag(shell: RaisingShell, engine: ScriptedEngine) -> None:
    engine.has_chat_template = False
    engine.answer = "Hmm. </think> Yes."
    shell.run("%%generate\nIs it? <think>")
    assert "<summary>Thoughts</summary>\n<p>Hmm.</p>" in shell.outputs[-1].data["text/html"]
