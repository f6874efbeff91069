"""A markdown text as its top-level blocks, each one HTML element, sanitised by itself."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from markdown_it.token import Token

from pagednb.rendering.html_writer import GROWING_FROM
from pagednb.rendering.parser import MAX_NESTING, parser
from pagednb.rendering.safe_text import safe_code
from pagednb.rendering.sanitiser import sanitised


class Block(NamedTuple):
    """A block of lines ``first`` to ``last`` (exclusive), counted from 0, as one element of HTML."""

    kind: str
    first: int
    last: int
    html: str
    markup: str


def render_blocks(text: str, *, is_growing: bool = False) -> list[Block]:
    """Return the blocks of ``text``, as ``safe_text`` gives it; code that a growing text ends in has no colours."""
    lines = text.split("\n")
    env: dict[str, Any] = {GROWING_FROM: len(lines) - text.endswith("\n")} if is_growing else {}
    return [_block(group, lines, env) for group in _top_level(parser().parse(text, env))]


def _top_level(tokens: Sequence[Token]) -> Iterator[Sequence[Token]]:
    start = 0
    for place, token in enumerate(tokens):
        if token.level == 0 and token.nesting <= 0:
            yield tokens[start : place + 1]
            start = place + 1


def _block(tokens: Sequence[Token], lines: list[str], env: dict[str, Any]) -> Block:
    first, last = tokens[0].map or [0, 0]
    if max(token.level for token in tokens) >= MAX_NESTING - 1:
        source = html.escape(safe_code("\n".join(lines[first:last])), quote=False)
        markup = f'<pre class="pnb-plain">{source}</pre>'
    else:
        markup = parser().renderer.render(tokens, parser().options, env)
    return Block(tokens[0].type, first, last, sanitised(markup).strip(), tokens[0].markup)
