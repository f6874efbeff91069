"""TeX to MathML, through latex2mathml, with only what typesets a formula let through.

The library knows ``\\style``, ``\\class``, ``\\color`` and macros, and its own printer takes escapes away again. So
its tree is written out here: known elements, known attributes with plain values, text escaped.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MAX_TEX = 2_000
"""Characters of one formula; longer ones stay TeX, so that the converter's time is bounded."""
MAX_DEPTH = 60

MATHML_TAGS = frozenset(
    """
    math menclose merror mfrac mi mmultiscripts mn mo mover mpadded mphantom mprescripts mroot mrow
    ms mspace msqrt mstyle msub msubsup msup mtable mtd mtext mtr munder munderover none
    """.split()  # noqa: SIM905  (a table, easier to read and to compare)
)
MATHML_ATTRIBUTES = frozenset(
    """
    accent accentunder columnalign columnlines columnspacing display displaystyle fence form largeop
    linethickness mathvariant maxsize minsize movablelimits notation rowlines rowspacing scriptlevel
    separator stretchy width xmlns
    """.split()  # noqa: SIM905  (a table, easier to read and to compare)
)
_MATHML = "http://www.w3.org/1998/Math/MathML"
# one or two digits before the point, hardly a minus: a formula must not draw over its neighbours
_PLAIN_VALUE = re.compile(
    r"-?0?\.\d{1,4}em|\+?\d{0,2}(?:\.\d{1,4})?(?:em|ex|px|pt|mu)?|[a-z-]{1,24}"
    r"|(?:[a-z]{1,8}|\d?\.?\d{1,4}em)(?: (?:[a-z]{1,8}|\d?\.?\d{1,4}em)){1,64}"
)
_MACROS = re.compile(r"\\(?:re)?newcommand|\\newenvironment|\\def|\\DeclareMathOperator|\\unicode|\\mathchoice")


def tex_to_mathml(tex: str, *, is_display: bool) -> str | None:
    """Return a ``<math>`` element, or None for TeX that is too long, too deep, defines macros or is not understood."""
    if len(tex) > MAX_TEX or not tex.strip() or _MACROS.search(tex):
        return None
    from latex2mathml.converter import convert_to_element

    try:
        tree = convert_to_element(tex, display="block" if is_display else "inline")
        return "".join(_written(tree, depth=0))
    except Exception:  # noqa: BLE001  (a converter meets hostile text, and raises whatever Python raises)
        return None


def _written(element: Element, *, depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH or element.tag not in MATHML_TAGS:
        raise ValueError(element.tag)
    attributes = "".join(
        f' {name}="{value}"' for name, value in element.attrib.items() if is_plain_attribute(name, value)
    )
    yield f"<{element.tag}{attributes}>"
    if element.text:  # the library writes its symbols as character references
        yield html.escape(html.unescape(element.text), quote=False)
    for child in element:
        yield from _written(child, depth=depth + 1)
    yield f"</{element.tag}>"


def is_plain_attribute(name: str, value: str) -> bool:
    """Whether an attribute of a MathML element may stay."""
    if name == "xmlns":
        return value == _MATHML
    return name in MATHML_ATTRIBUTES and _PLAIN_VALUE.fullmatch(value) is not None
