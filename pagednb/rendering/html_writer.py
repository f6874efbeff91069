"""Markdown's tokens as HTML, where it differs from markdown-it's own: code, tables, formulas, links and tasks."""

from __future__ import annotations

import html
from collections.abc import Sequence

from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from pagednb.rendering.code_block import code_to_html, language_of
from pagednb.rendering.mathml import tex_to_mathml
from pagednb.rendering.safe_text import safe_code

GROWING_FROM = "pnb_growing_from"
"""Key of a parse's environment: code that reaches this line may still grow."""
_ALIGNMENTS = {"text-align:left": "pnb-left", "text-align:center": "pnb-center", "text-align:right": "pnb-right"}


class HtmlWriter(RendererHTML):
    """One method for each kind of token that we write our own way; markdown-it finds them by name."""

    def fence(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """Write code with its language."""
        token = tokens[idx]
        last = token.map[1] if token.map else 0
        is_growing = GROWING_FROM in env and last >= env[GROWING_FROM]
        return code_to_html(token.content, language_of(token.info), is_growing=is_growing) + "\n"

    def code_block(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """Write indented code."""
        return code_to_html(tokens[idx].content) + "\n"

    def code_inline(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """Write code within a line."""
        return f"<code>{html.escape(safe_code(tokens[idx].content), quote=False)}</code>"

    def link_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """Write the address only: a title may claim that a link leads elsewhere."""
        token = tokens[idx]
        kind = ' class="pnb-picture"' if token.attrs.get("class") == "pnb-picture" else ""
        return f'<a href="{html.escape(str(token.attrs.get("href", "")))}"{kind}>'

    def table_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """Write a frame around the table, in which a wide one scrolls."""
        return '<div class="pnb-table"><table>\n'

    def table_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """Close the table and its frame."""
        return "</table></div>\n"

    def th_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """Write a cell of the head."""
        return _cell("th", tokens[idx])

    def td_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """Write a cell."""
        return _cell("td", tokens[idx])

    def math(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """Write a formula within a line, or its source."""
        token = tokens[idx]
        return tex_to_mathml(token.content, is_display=token.meta["is_display"]) or _source(token)

    def math_block(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """Write a formula on lines of its own, or its source."""
        token = tokens[idx]
        return f'<div class="pnb-math">{tex_to_mathml(token.content, is_display=True) or _source(token)}</div>\n'

    def task_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """Write the mark of a task to do."""
        return '<span class="pnb-task-open" role="img" aria-label="to do"></span>'

    def task_done(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """Write the mark of a task done."""
        return '<span class="pnb-task-done" role="img" aria-label="done"></span>'


def _cell(tag: str, token: Token) -> str:
    alignment = _ALIGNMENTS.get(str(token.attrs.get("style", "")))
    return f'<{tag} class="{alignment}">' if alignment else f"<{tag}>"


def _source(token: Token) -> str:
    return f'<code class="pnb-tex">{html.escape(safe_code(token.markup), quote=False)}</code>'
