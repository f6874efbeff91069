"""How an answer looks: as it grows, and as it is saved with the notebook.

From the texts of an answer (one, unless ``n > 1``) to MIME bundles. What the model thought first is folded away, or
left out where the answer alone is a value. Only the last bundle carries plain text, which holds everything: a terminal
cannot update what it has printed, and so prints an answer one time.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pagednb.notebook.thinking import split_thought
from pagednb.rendering import output_html
from pagednb.rendering.fences import closed_markdown, fenced, first_code_block, has_fence, open_fence
from pagednb.rendering.markdown import render_markdown
from pagednb.rendering.output_html import CURSOR, GrowingMarkdown

Bundle = dict[str, Any]
Live = Callable[[Sequence[str]], Bundle]

_SEPARATOR = "\n\n---\n\n"


class AnswerFormat(NamedTuple):
    """``live`` makes what shows one answer as it grows; ``final`` shows the whole, with a note if it ends early."""

    live: Callable[[], Live]
    final: Callable[[Sequence[str], str | None], Bundle]


def _plain(texts: Sequence[str], note: str | None = None) -> str:
    text = _SEPARATOR.join(texts)
    return f"{text}\n[{note}]" if note else text


def _markdown(texts: Sequence[str], note: str | None, as_markdown: Callable[[str], str] = str) -> Bundle:
    parts, source = [], []
    for text in texts:
        thought, answer = split_thought(text)
        answer = as_markdown(answer)
        folded = output_html.thought_html(render_markdown(thought)) if thought else ""
        parts.append(folded + render_markdown(answer))
        source.append(closed_markdown(answer))
    if note:
        parts[-1] += output_html.note_html(note)
        source[-1] += f"\n\n*{note}*"
    return {
        "text/html": output_html.page(*parts),
        "text/markdown": _SEPARATOR.join(source),
        "text/plain": _plain(texts, note),
    }


def _live_markdown(as_markdown: Callable[[str], str] = str) -> Live:
    """Show thoughts, and then what ``as_markdown`` makes of each answer."""
    growing: list[tuple[GrowingMarkdown, GrowingMarkdown]] = []

    def show_one(views: tuple[GrowingMarkdown, GrowingMarkdown], text: str) -> str:
        thought, answer = split_thought(text)
        if not thought:
            return views[1].html(as_markdown(answer))
        if not answer:
            return output_html.thought_html(views[0].html(thought), is_growing=True)
        return output_html.thought_html(views[0].html(thought, cursor="")) + views[1].html(as_markdown(answer))

    def show(texts: Sequence[str]) -> Bundle:
        growing.extend((GrowingMarkdown(), GrowingMarkdown()) for _ in texts[len(growing) :])
        return {"text/html": output_html.element(*map(show_one, growing, texts))}

    return show


def _html(texts: Sequence[str], note: str | None) -> Bundle:
    parts = [output_html.own_html(first_code_block(split_thought(text)[1])) for text in texts]
    if note:
        parts[-1] += output_html.note_html(note)
    return {"text/html": output_html.page(*parts), "text/plain": _plain(texts, note)}


def _live_html(texts: Sequence[str]) -> Bundle:
    answers = (first_code_block(split_thought(text)[1]) for text in texts)
    return {"text/html": output_html.element(*(output_html.own_html(answer) + CURSOR for answer in answers))}


def _text(texts: Sequence[str], note: str | None) -> Bundle:
    return {"text/plain": _plain(texts, note)}


def _live_text(texts: Sequence[str]) -> Bundle:
    shown = html.escape(_plain(texts), quote=False) + CURSOR
    return {"text/html": f"<pre style='white-space:pre-wrap'>{shown}</pre>"}


def _json(texts: Sequence[str], note: str | None) -> Bundle:
    """Show values as values; where one cannot be read, all as text, and say so."""
    try:
        values = [json.loads(split_thought(text)[1]) for text in texts]
    except ValueError:
        return _markdown(texts, note or "not valid JSON", lambda answer: fenced(answer, "json"))
    plain = _plain([json.dumps(value, indent=2, ensure_ascii=False) for value in values], note)
    value = values[0] if len(values) == 1 else values
    is_tree = isinstance(value, dict | list)  # front ends show no other value
    return {**({"application/json": value} if is_tree else {}), "text/plain": plain}


def _whole_code(answer: str) -> str:
    return answer if has_fence(answer) else fenced(answer, "python")


def _growing_code(answer: str) -> str:
    return answer if has_fence(answer) else open_fence(answer, "python")


ANSWER_FORMATS: Mapping[str, AnswerFormat] = {
    "markdown": AnswerFormat(_live_markdown, _markdown),
    "text": AnswerFormat(lambda: _live_text, _text),
    "json": AnswerFormat(lambda: _live_markdown(lambda answer: open_fence(answer, "json")), _json),
    "code": AnswerFormat(
        lambda: _live_markdown(_growing_code), lambda texts, note: _markdown(texts, note, _whole_code)
    ),
    "html": AnswerFormat(lambda: _live_html, _html),
}
FORMATS = tuple(ANSWER_FORMATS)
