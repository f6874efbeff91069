"""Text of a model as HTML that a notebook may hold.

JupyterLab runs scripts inside the markdown of a cell that was just executed, and every front end prefers HTML to
markdown. So an answer is shown as sanitised HTML, with its markdown beside it for exporters that know no HTML.
"""

from __future__ import annotations

import html
import re
from functools import cache

from pagednb.rendering.growing_place import TAIL
from pagednb.rendering.safe_text import safe_text
from pagednb.rendering.sanitiser import sanitised
from pagednb.rendering.streamed import StreamedMarkdown
from pagednb.rendering.stylesheet import stylesheet

CURSOR = " ▌"
NO_TEX = "tex2jax_ignore mathjax_ignore"
"""Classes of an element in which a front end looks for no TeX: formulas are MathML already, it would find prices, and
a hostile macro that grows without end takes the whole page down."""
_OPENING = f'<div class="pnb-markdown {NO_TEX}">'
_RULE = "\n<hr>\n"
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_STYLED = 'class="pnb-'


def page(*parts: str) -> str:
    """Return parts of safe HTML as ``element`` does, with the stylesheet if there is code, a table or a formula.

    Plain prose goes without: a front end's own style suits it best, and a saved notebook stays small.
    """
    body = element(*parts)
    return f"<style>{output_stylesheet()}</style>\n{body}" if any(_STYLED in part for part in parts) else body


def element(*parts: str) -> str:
    """Return parts of safe HTML, a rule between them, as one element."""
    return f"{_OPENING}\n{_RULE.join(parts)}\n</div>"


def own_html(text: str) -> str:
    """Return the HTML that a model wrote: structure and text, without scripts, styles, pictures and forms."""
    return sanitised(safe_text(text))


def thought_html(shown: str, *, is_growing: bool = False) -> str:
    """Return safe HTML folded away, as what a model thought before it answered."""
    return f"<details{' open' if is_growing else ''}><summary>Thoughts</summary>\n{shown}\n</details>\n"


def said_html(text: str) -> str:
    """Return what a person wrote, as it was typed."""
    said = html.escape(text, quote=False)
    return f"<div class='{NO_TEX}' style='white-space:pre-wrap;overflow-wrap:anywhere'>{said}</div>"


def note_html(text: str) -> str:
    """Return a remark of ours below an answer."""
    return f"<p><em>{html.escape(text)}</em></p>"


class GrowingMarkdown:
    """An answer that grows, drawn with work linear in its length; one that does not continue the last begins anew."""

    def __init__(self) -> None:
        self._text = ""
        self._stream = StreamedMarkdown()

    def html(self, text: str, *, cursor: str = CURSOR) -> str:
        """Return the markdown so far as safe HTML, the cursor at its end."""
        if not text.startswith(self._text):
            self._text, self._stream = "", StreamedMarkdown()
        self._stream.push(text[len(self._text) :])
        self._text = text
        patch = self._stream.snapshot()
        before, place, after = "\n".join(patch.blocks).rpartition(TAIL)
        tail = html.escape(patch.tail) + cursor
        return f"{before}{tail}{after}" if place else f"{after}<p>{tail}</p>"


@cache
def output_stylesheet() -> str:
    """Return the stylesheet of rendered markdown for what stands below a cell, in one line.

    JupyterLab has rules of its own for outputs, some of three classes (no frame around code, tables to the right). So
    each of ours names an id that nothing has, which outweighs any number of classes.
    """
    return " ".join(_COMMENT.sub("", stylesheet()).split()).replace(".pnb-markdown", ".pnb-markdown:not(#pnb)")
