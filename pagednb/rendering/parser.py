"""The markdown that models write: CommonMark with tables, strikethrough, tasks, formulas and bare addresses.

HTML is text. Link references (``[1]: https://...``) are text too, with the address as a link.
"""

from __future__ import annotations

from functools import cache

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

from pagednb.rendering.html_writer import HtmlWriter
from pagednb.rendering.links import is_safe_link, link_bare_addresses, pictures_to_links
from pagednb.rendering.math_rules import add_math
from pagednb.rendering.quote_bounds import bound_quotes
from pagednb.rendering.task_lists import mark_tasks

MAX_NESTING = 24
"""Levels of lists and quotes; markdown-it leaves out what lies deeper, so such a block is shown as its source."""
MAX_INLINE = 10_000
"""Characters of one paragraph or cell that are searched for marks: the search may grow with their square."""


@cache
def parser() -> MarkdownIt:
    """Return the parser; it keeps nothing between texts, so everybody shares one."""
    rules = {"html": False, "maxNesting": MAX_NESTING, "breaks": False}
    made = MarkdownIt("commonmark", rules, renderer_cls=HtmlWriter).enable(["table", "strikethrough"])
    # a definition at the end would change links drawn long ago, and one long address be repeated a thousand times
    made.disable("reference")
    made.validateLink = is_safe_link  # type: ignore[method-assign]  # markdown-it's own way to set it
    made.core.ruler.at("inline", _parse_inlines)
    made.core.ruler.push("pictures", pictures_to_links)
    made.core.ruler.push("bare_links", link_bare_addresses)
    made.core.ruler.push("tasks", mark_tasks)
    add_math(made)
    bound_quotes(made)
    return made


def _parse_inlines(state: StateCore) -> None:
    for token in state.tokens:
        if token.type != "inline":
            continue
        token.children = []
        if len(token.content) > MAX_INLINE:
            token.children.append(Token("text", "", 0, content=token.content))
        else:
            state.md.inline.parse(token.content, state.md, state.env, token.children)
