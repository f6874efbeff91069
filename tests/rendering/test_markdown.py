"""Markdown as HTML: what a reader sees, what a page gets, and that hostile text is only text."""

from __future__ import annotations

import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.attacks import ATTACKS
from support.inert_html import faults_in, num_roots, text_of
from support.random_markdown import markdown_texts

from pagednb.rendering.blocks import render_blocks
from pagednb.rendering.code_block import MAX_CHARACTERS
from pagednb.rendering.markdown import render_markdown
from pagednb.rendering.parser import MAX_INLINE, MAX_NESTING
from pagednb.rendering.safe_text import safe_text
from pagednb.rendering.sanitiser import sanitised
from pagednb.rendering.stylesheet import stylesheet

NEW_PAGE = 'target="_blank" rel="noopener noreferrer"'


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_inert(name: str) -> None:
    assert faults_in(render_markdown(ATTACKS[name])) == []


@pytest.mark.parametrize("name", ATTACKS)
def test_the_last_gate_holds_alone(name: str) -> None:
    faults = faults_in(f"<p>{sanitised(ATTACKS[name])}</p>")
    assert [fault for fault in faults if "unbalanced" not in fault and "text outside" not in fault] == []


@settings(max_examples=150, deadline=None)
@given(markdown_texts(fragments=list(ATTACKS.values())))
def test_attacks_in_pieces_are_inert(text: str) -> None:
    assert faults_in(render_markdown(text)) == []


def test_the_check_can_fail() -> None:
    for html in (
        "<p onclick=x>a</p>",
        "<img src=x>",
        '<p class="jp-x">a</p>',
        '<a href="javascript:x">a</a>',
        "<math href=x></math>",
        '<math><mspace width="999em"></mspace></math>',
        "<p>",
        "a",
    ):
        assert faults_in(html)


@settings(max_examples=150, deadline=None)
@given(markdown_texts())
def test_each_block_is_one_element(text: str) -> None:
    for block in render_blocks(safe_text(text)):
        assert num_roots(block.html) == 1
        assert faults_in(block.html) == []


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=[])))
def test_any_text_is_drawn(text: str) -> None:
    html = render_markdown(text)
    html.encode()
    assert faults_in(html) == []
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", html)


@pytest.mark.parametrize(
    ("markdown", "html"),
    [
        ("a **b** *c* ~~d~~ `e`", "<p>a <strong>b</strong> <em>c</em> <s>d</s> <code>e</code></p>"),
        ("[x](https://e.org 'not this')", f'<p><a href="https://e.org" {NEW_PAGE}>x</a></p>'),
        ("see https://e.org/a_(b)).", f'<p>see <a href="https://e.org/a_(b)" {NEW_PAGE}>https://e.org/a_(b)</a>).</p>'),
        ("![p](https://e.org/p.png)", f'<p><a href="https://e.org/p.png" class="pnb-picture" {NEW_PAGE}>p</a></p>'),
        ("[![p](https://e.org/p)](https://e.org)", f'<p><a href="https://e.org" {NEW_PAGE}>p</a></p>'),
        ("<me@e.org>", f'<p><a href="mailto:me@e.org" {NEW_PAGE}>me@e.org</a></p>'),
        ("<b>x</b> &lt;i&gt;", "<p>&lt;b&gt;x&lt;/b&gt; &lt;i&gt;</p>"),
        ("7. a\n8. b", '<ol start="7">\n<li>a</li>\n<li>b</li>\n</ol>'),
        ("a\n***", "<p>a</p>\n<hr>"),
    ],
)
def test_markdown(markdown: str, html: str) -> None:
    assert render_markdown(markdown) == html


def test_tables_keep_their_alignment_in_classes() -> None:
    html = render_markdown("|a|b|\n|:-:|-:|\n|c|d|")
    assert html.startswith('<div class="pnb-table"><table>')
    assert '<td class="pnb-center">c</td>' in html
    assert '<th class="pnb-right">b</th>' in html


def test_tasks_have_marks() -> None:
    html = render_markdown("- [ ] a\n- [x] b\n- [y] c")
    assert html.count('class="pnb-task"') == 2
    assert '<span class="pnb-task-done" role="img" aria-label="done"></span>b' in html
    assert "[y] c" in html


def test_code_is_coloured_by_classes() -> None:
    html = render_markdown("```Python extra\ndef f(): pass\n```")
    assert html.startswith('<pre class="pnb-code" data-language="python"><code><span class="pnb-k">def</span>')
    assert text_of(html) == "def f(): pass\n"


@pytest.mark.parametrize(
    "code",
    [
        "```python\n" + "x = 1\n" * MAX_CHARACTERS,
        "```c\n" + "\n" * 100,
        "```js\n" + "a" * 5_000,
        "```java\n" + "a b\n" * 2_000,
    ],
)
def test_code_beyond_the_bounds_has_no_colours(code: str) -> None:
    html = render_markdown(code)
    assert "<span" not in html
    assert text_of(html) == code.partition("\n")[2]


def test_code_shows_characters_that_reorder_it() -> None:
    assert "⟨U+202E⟩" in render_markdown("```\na\u202eb\n```")
    assert "\u202e" in render_markdown("a\u202eb")  # in prose they end with the paragraph


def test_deep_nesting_is_shown_as_its_source() -> None:
    text = ">" * (MAX_NESTING + 5) + " the end"
    assert text_of(render_markdown(text)) == text
    assert render_markdown(text).startswith('<pre class="pnb-plain">')
    assert "<blockquote>" in render_markdown("> > > > a")


def test_a_very_long_paragraph_is_plain_and_whole() -> None:
    text = "**a** " * MAX_INLINE
    assert text_of(render_markdown(text)) == text.strip()


@pytest.mark.parametrize(
    "text",
    ["a" * 1_000_000, "[" * 100_000, "*_" * 50_000, "\n" * 100_000, "|" * 100_000, "$$a\n" * 2_000, "```" * 30_000],
)
def test_large_odd_texts_are_drawn(text: str) -> None:
    assert len(render_markdown(text)) <= 60 * len(text)


def test_the_stylesheet_speaks_of_our_classes_only() -> None:
    css = stylesheet()
    rules = re.findall(r"^([^\s@/}][^{;]*)\{", re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL), re.MULTILINE)
    assert len(rules) > 30
    for rule in rules:
        assert all(".pnb-markdown" in part for part in re.split(r",\s*\n", rule.strip().rstrip(","))), rule
    assert "url(" not in css
    assert "@import" not in css
    named = set(re.findall(r"\.([a-z][\w-]*)", re.sub(r"\d\.\d+\w+", "", css)))
    themes = {"vscode-light", "vscode-dark", "light", "dark"}  # what pages around say of themselves
    assert named - themes <= set(re.findall(r"pnb-[\w-]+", css))


def num_calls(text: str) -> int:
    """Return how many functions drawing a text calls: its work, whatever the machine does meanwhile."""
    calls: list[str] = []
    render_markdown(text[:10])
    sys.setprofile(lambda frame, event, value: calls.append(event))
    try:
        render_markdown(text)
    finally:
        sys.setprofile(None)
    return len(calls)


@pytest.mark.parametrize("depth", [3, 12, 23, 40])
def test_lines_without_a_mark_are_not_looked_at_by_each_quote_before_them(depth: int) -> None:
    lines = "b\n" * 500
    assert num_calls(f"{'>' * depth} a\n{lines}") < 3 * num_calls(f"> a\n{lines}")
    few = lines[:40]
    assert num_calls(f"{'>' * depth} a\n{few}" * 20) < 4 * num_calls(f"> a\n{few}" * 20)


def test_where_lines_without_a_mark_belong() -> None:
    assert render_markdown("> > a\nb").count("<p>") == 1
    assert render_markdown("> > > a\nb").endswith("</blockquote>\n<p>b</p>")
