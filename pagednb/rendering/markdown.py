"""Markdown of a model as HTML that is safe to place in a page."""

from __future__ import annotations

from pagednb.rendering.blocks import render_blocks
from pagednb.rendering.safe_text import safe_text


def render_markdown(text: str) -> str:
    """Return ``text`` as sanitised HTML: one element a top-level block, to be placed in a ``.pnb-markdown`` element.

    Never raises for any ``str``. Classes begin with ``pnb-``; links open a new page; pictures are links.
    """
    return "\n".join(block.html for block in render_blocks(safe_text(text)))
