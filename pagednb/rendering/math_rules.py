r"""Where formulas stand in markdown: ``$..$``, ``$$..$$``, ``\(..\)`` and ``\[..\]``.

Own rules, because a formula on lines of its own must begin by what its first line says. (The usual plugin looks for
the end first; in a stream that would make a formula of paragraphs drawn long ago.) All scans are bounded.
"""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.ruler import RuleOptionsType
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline

from pagednb.rendering.mathml import MAX_TEX

_BODY = rf"((?:\\.|[^\\$]){{1,{MAX_TEX}}}?)"
_INLINE = (
    ("$$", re.compile(rf"\$\${_BODY}\$\$", re.DOTALL), True),
    # as in pandoc: no space inside the dollars, no digit behind them, so that prices stay prices
    ("$", re.compile(rf"\$(?![\s$]){_BODY}(?<!\s)\$(?!\d)", re.DOTALL), False),
    (r"\(", re.compile(rf"\\\((.{{1,{MAX_TEX}}}?)\\\)", re.DOTALL), False),
    (r"\[", re.compile(rf"\\\[(.{{1,{MAX_TEX}}}?)\\\]", re.DOTALL), True),
)
_CLOSING = {"$$": "$$", r"\[": r"\]"}


def add_math(parser: MarkdownIt) -> None:
    """Teach ``parser`` the tokens ``math`` (inline; ``meta["is_display"]``) and ``math_block``."""
    interrupts: RuleOptionsType = {"alt": ["paragraph", "reference", "blockquote", "list"]}
    parser.block.ruler.before("fence", "math_block", _math_block, interrupts)
    parser.inline.ruler.before("escape", "math", _math)


def _math(state: StateInline, silent: bool) -> bool:
    if state.src[state.pos] not in "$\\":
        return False
    for opening, pattern, is_display in _INLINE:
        if state.src.startswith(opening, state.pos):
            match = pattern.match(state.src, state.pos, state.posMax)
            if match is None:
                return False
            if not silent:
                token = state.push("math", "math", 0)
                token.content, token.markup, token.meta = match[1], match[0], {"is_display": is_display}
            state.pos = match.end()
            return True
    return False


def _math_block(state: StateBlock, first: int, last: int, silent: bool) -> bool:
    opened = _first_line(state, first)
    if opened is None:
        return False
    if silent:
        return True
    opening, body = opened
    closing = _CLOSING[opening]
    line = first + 1
    is_closed = body.rstrip(" \t.,;").endswith(closing)
    while not is_closed and line < last and not state.isEmpty(line) and state.sCount[line] >= state.blkIndent:
        is_closed = state.src[state.bMarks[line] : state.eMarks[line]].rstrip(" \t.,;").endswith(closing)
        line += 1
    source = state.getLines(first, line, state.blkIndent, False).strip()
    state.line = line
    if is_closed:
        tex = source.rstrip(" \t.,;").removeprefix(opening).removesuffix(closing)
        token = state.push("math_block", "math", 0)
        token.content, token.markup, token.map = tex.strip(), source, [first, line]
    else:
        _push_paragraph(state, source, [first, line])
    return True


def _first_line(state: StateBlock, first: int) -> tuple[str, str] | None:
    """Return the opening mark of a line that begins a formula, and what follows it there."""
    line = state.src[state.bMarks[first] + state.tShift[first] : state.eMarks[first]]
    opening = line[:2]
    if state.is_code_block(first) or opening not in _CLOSING:
        return None
    body = line[2:]
    closing_at = body.find(_CLOSING[opening])
    if closing_at >= 0 and body[closing_at + 2 :].strip(" \t.,;"):
        return None  # a formula within a sentence
    return opening, body


def _push_paragraph(state: StateBlock, source: str, lines: list[int]) -> None:
    state.push("paragraph_open", "p", 1).map = lines
    inline = state.push("inline", "", 0)
    inline.content, inline.map, inline.children = source, lines, []
    state.push("paragraph_close", "p", -1)
