"""A bound on the work that quotes within quotes take."""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.ruler import RuleOptionsType
from markdown_it.rules_block import StateBlock

MAX_LAZY_QUOTES = 2
"""Deeper quotes go on only in lines that say so. A line without marks (``> said`` and ``so`` below it) is looked at by
each quote that it may belong to: 200 kB of such lines within 24 quotes would take half a minute."""

_MARKS = re.compile(r"[ \t>*+\-.)\d]{0,200}")  # of quotes and lists; more of them are no line of people


def bound_quotes(parser: MarkdownIt) -> None:
    """Let a line without marks end all quotes when they are deep; a paragraph begins there."""
    ends_quotes: RuleOptionsType = {"alt": ["blockquote"]}
    parser.block.ruler.push("deep_quotes_end", _ends_quotes, ends_quotes)


def _ends_quotes(state: StateBlock, line: int, last: int, silent: bool) -> bool:
    """Say so when asked whether a line ends the quotes before it; begins nothing itself.

    Asked by each quote around, from the outside in. All get the same answer, so that none reads on in vain.
    """
    if not silent or line == 0:
        return False
    end = state.src.rfind("\n", 0, state.bMarks[line] + 1)
    marks = _MARKS.match(state.src, state.src.rfind("\n", 0, end) + 1, end)
    return marks is not None and marks[0].count(">") > MAX_LAZY_QUOTES
