"""Streams end as the whole text is drawn, in any pieces, with traffic and work linear in the answer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.inert_html import faults_in, num_roots
from support.random_markdown import markdown_texts
from support.streamed_view import StreamedView

from pagednb.rendering import streamed
from pagednb.rendering.markdown import render_markdown
from pagednb.rendering.streamed import ALLOWANCE, StreamedMarkdown

SENTENCE = "The engine **keeps** blocks of `16` tokens, see [here](https://e.org), and goes on. "
LONG_TEXTS = {
    "code": "Look:\n\n```python\n" + "x = f(1, 'a')  # why\n" * 2_400 + "```\n\nDone.",
    "code without an end": "```python\n" + "print(1)\n" * 3_000,
    "code in a list": "1. do\n   ```python\n" + "   print(1)\n" * 2_000 + "   ```\n2. done",
    "paragraph": SENTENCE * 400,
    "paragraphs": (SENTENCE * 6 + "\n\n") * 60,
    "list": "".join(f"- item **{i}** of many\n" for i in range(1_500)),
    "loose list": "".join(f"- item {i}\n\n" for i in range(1_000)),
    "table": "|a|b|\n|-|-|\n" + "| one | *two* |\n" * 1_500,
    "quote": "> a quoted *line*\n" * 1_500,
    "headings": "# title\ntext *a*\n" * 1_000,
    "formulas": "Then $x^2$ is\n\n$$\n\\frac{a}{b}\n$$\n\n" * 200,
    "marks": "*" * 20_000,
    "blank lines": "\n" * 20_000,
    "definitions": "[a]: https://e.org\n" * 1_000,
    "fences": "```\n" * 4_000,
    "one line": "word " * 8_000,
}


def pieces_of(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


@settings(max_examples=300, deadline=None)
@given(markdown_texts(), st.randoms(use_true_random=False), st.sampled_from([0, 500, ALLOWANCE]))
def test_streams_end_as_the_whole_is_drawn(text: str, random: object, allowance: int) -> None:
    view = StreamedView(StreamedMarkdown(allowance=allowance))
    at = 0
    while at < len(text):
        size = random.randint(1, 9)  # type: ignore[attr-defined]
        view.push(text[at : at + size])
        at += size
    view.finish()
    assert view.html == render_markdown(text)


@settings(max_examples=100, deadline=None)
@given(markdown_texts())
def test_what_is_shown_meanwhile_is_inert_and_one_element_a_block(text: str) -> None:
    view = StreamedView(StreamedMarkdown())
    for character in text:
        view.push(character)
        for block in view.blocks[-1:]:
            assert faults_in(block) == []
            assert num_roots(block) == 1
        snapshot = view.stream.snapshot()
        assert (list(snapshot.blocks), snapshot.tail) == (view.blocks, view.tail)


@pytest.mark.parametrize("name", LONG_TEXTS)
def test_traffic_and_work_are_linear(name: str) -> None:
    text = LONG_TEXTS[name]
    view = StreamedView(StreamedMarkdown())
    for piece in pieces_of(text, 5):
        view.push(piece)
    view.finish()
    html = render_markdown(text)
    assert view.html == html
    size = max(len(html), len(text))
    assert view.num_characters <= 4 * size + ALLOWANCE
    assert view.stream.num_drawn_characters <= 4 * size + ALLOWANCE


@pytest.mark.parametrize("name", ["code", "paragraphs"])
def test_an_allowance_of_nothing_costs_little_more_than_the_answer(name: str) -> None:
    text = LONG_TEXTS[name]
    view = StreamedView(StreamedMarkdown(allowance=0))
    for piece in pieces_of(text, 5):
        view.push(piece)
    view.finish()
    assert view.num_characters <= 4 * len(render_markdown(text))


def test_long_code_goes_out_as_text_and_is_coloured_once() -> None:
    view = StreamedView(StreamedMarkdown())
    view.push("```python\n")
    line = "x = 1\n"
    for _ in range(1_000):
        assert view.push(line).blocks == ()
    assert view.blocks[-1].endswith('<span class="pnb-tail"></span></code></pre>')
    assert view.tail == line * 1_000
    patch = view.push("``")
    assert patch.is_empty  # the end of the code, perhaps
    assert view.push("`\n\n").blocks[0].count("pnb-n") > 900
    assert len(view.push("after").blocks) == 1


def test_settled_blocks_are_drawn_once() -> None:
    view = StreamedView(StreamedMarkdown())
    view.push("# a\n\nb **c**\n\n")
    for piece in pieces_of("text and *more* of it\n\n- item\n- other\n", 3):
        assert view.push(piece).keep >= 2
    assert view.finish().keep >= 3


def test_plain_words_are_appended_to_their_paragraph() -> None:
    view = StreamedView(StreamedMarkdown())
    view.push("Some **bold**")
    assert view.push(" words") == (1, (), " words")
    assert view.blocks == ['<p>Some <strong>bold</strong><span class="pnb-tail"></span></p>']


def test_a_rule_or_a_list_is_not_taken_for_a_heading() -> None:
    view = StreamedView(StreamedMarkdown())
    view.push("text\n")
    assert view.push("-").is_empty
    view.push(" item")
    assert [block[:3] for block in view.blocks] == ["<p>", "<ul"]


def test_an_empty_answer_is_empty() -> None:
    assert StreamedMarkdown().finish() == (0, (), "")
    assert streamed.StreamedMarkdown().push("").is_empty
