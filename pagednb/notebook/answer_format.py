"""How an answer looks: as it grows, and as it is saved with the notebook.

Pure functions from the texts of an answer (one, unless ``n > 1``) to MIME bundles. Only the last bundle carries plain
text: a terminal cannot update what it has printed, and so prints an answer one time.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

Bundle = dict[str, Any]

CURSOR = " ▌"
_SEPARATOR = "\n\n---\n\n"
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})([^\n`]*)$", re.MULTILINE)


class AnswerFormat(NamedTuple):
    """``live`` shows an answer that still grows; ``final`` the whole of it, with a note on why it ends there."""

    live: Callable[[Sequence[str]], Bundle]
    final: Callable[[Sequence[str], str | None], Bundle]


def first_code_block(text: str) -> str:
    """Return what stands in the first fence of a markdown text, or all of a text without fences."""
    opening = _FENCE.search(text)
    if opening is None:
        return text
    for closing in _FENCE.finditer(text, opening.end()):
        if _closes(opening, closing):
            return text[opening.end() + 1 : closing.start()].removesuffix("\n")
    return text[opening.end() + 1 :]


def closed_markdown(text: str) -> str:
    """Return a markdown text with the fence closed that it ends in, so that what follows is no part of the code."""
    opening: re.Match[str] | None = None
    for fence in _FENCE.finditer(text):
        if opening is None:
            opening = fence
        elif _closes(opening, fence):
            opening = None
    return text if opening is None else f"{text}\n{opening[1]}"


def _closes(opening: re.Match[str], fence: re.Match[str]) -> bool:
    return fence[1].startswith(opening[1]) and not fence[2].strip()


def _plain(texts: Sequence[str], note: str | None = None) -> str:
    text = _SEPARATOR.join(texts)
    return f"{text}\n[{note}]" if note else text


def _markdown(texts: Sequence[str], note: str | None) -> Bundle:
    if note:
        shown = _SEPARATOR.join([*map(closed_markdown, texts[:-1]), f"{closed_markdown(texts[-1])}\n\n*{note}*"])
    else:
        shown = _SEPARATOR.join([*map(closed_markdown, texts[:-1]), texts[-1]])
    return {"text/markdown": shown, "text/plain": _plain(texts, note)}


def _live_markdown(texts: Sequence[str]) -> Bundle:
    return {"text/markdown": _SEPARATOR.join([*map(closed_markdown, texts[:-1]), texts[-1]]) + CURSOR}


def _text(texts: Sequence[str], note: str | None) -> Bundle:
    return {"text/plain": _plain(texts, note)}


def _live_text(texts: Sequence[str]) -> Bundle:
    shown = html.escape(_plain(texts), quote=False) + CURSOR
    return {"text/html": f"<pre style='white-space:pre-wrap'>{shown}</pre>"}


def _fenced(text: str, language: str) -> str:
    """Return a text as a block of code, whatever fences it holds itself."""
    longest = max((len(match[1]) for match in _FENCE.finditer(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _json(texts: Sequence[str], note: str | None) -> Bundle:
    """Show values as values; where one cannot be read, all as text, and say so."""
    try:
        values = [json.loads(text) for text in texts]
    except ValueError:
        return _markdown([_fenced(text, "json") for text in texts], note or "not valid JSON")
    plain = _plain([json.dumps(value, indent=2, ensure_ascii=False) for value in values], note)
    value = values[0] if len(values) == 1 else values
    is_tree = isinstance(value, dict | list)  # front ends show no other value
    return {**({"application/json": value} if is_tree else {}), "text/plain": plain}


def _live_json(texts: Sequence[str]) -> Bundle:
    return _live_markdown([_fenced(text, "json") for text in texts])


def _as_code(texts: Sequence[str]) -> list[str]:
    return [text if _FENCE.search(text) else _fenced(text, "python") for text in texts]


def _code(texts: Sequence[str], note: str | None) -> Bundle:
    return {**_markdown(_as_code(texts), note), "text/plain": _plain(texts, note)}


def _live_code(texts: Sequence[str]) -> Bundle:
    return _live_markdown(_as_code(texts))


ANSWER_FORMATS: Mapping[str, AnswerFormat] = {
    "markdown": AnswerFormat(_live_markdown, _markdown),
    "text": AnswerFormat(_live_text, _text),
    "json": AnswerFormat(_live_json, _json),
    "code": AnswerFormat(_live_code, _code),
}
FORMATS = tuple(ANSWER_FORMATS)
