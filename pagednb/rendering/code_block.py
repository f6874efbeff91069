"""Code, coloured by pygments with classes (``pnb-k``, ``pnb-s1``...), within bounds on its time."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

from pygments.token import STANDARD_TYPES

from pagednb.rendering.safe_text import safe_code

if TYPE_CHECKING:
    from pygments.lexer import Lexer

MAX_CHARACTERS = 30_000
MAX_LINE = 2_000
MAX_BLANK_LINES = 50
"""Beyond these bounds code has no colours: many grammars take time that grows with the square of such a text."""

CODE_CLASSES = frozenset(f"pnb-{name}" for name in STANDARD_TYPES.values() if name)
_LANGUAGE = re.compile(r"[A-Za-z0-9_+#.-]{1,24}")
_MANY_BLANK_LINES = re.compile(rf"\n(?:[ \t]*\n){{{MAX_BLANK_LINES}}}")
# their grammars look for the end of a declaration from every line
_SQUARE = frozenset({"java", "csharp", "c#"})
_SQUARE_LIMIT = 6_000
# grammars tried on hostile text; a regular expression cannot be interrupted, so unknown ones stay out
_COLOURED = frozenset(
    """
    python py python3 py3 pycon ipython bash sh shell zsh console powershell json jsonc yaml toml
    ini html xml css scss javascript js jsx typescript ts tsx java kotlin scala c cpp c++ csharp c#
    cuda go golang rust rs swift ruby rb php perl lua r julia matlab sql postgresql haskell dart
    elixir latex tex diff docker dockerfile makefile make cmake graphql protobuf
    """.split()  # noqa: SIM905  (a table, easier to read and to compare)
)


def language_of(info: str) -> str:
    """Return the language that a fence names, in lower case; "" for none or for what cannot be a name."""
    word = info.split(maxsplit=1)[0] if info.strip() else ""
    return word.lower() if _LANGUAGE.fullmatch(word) else ""


def code_to_html(code: str, language: str = "", *, is_growing: bool = False) -> str:
    """Return a ``<pre class="pnb-code">``; code that still grows has no colours yet."""
    code = safe_code(code)
    inner = None if is_growing or not _can_be_coloured(code, language) else _coloured(code, language)
    label = f' data-language="{language}"' if language else ""
    if inner is None:
        inner = html.escape(code, quote=False)
    return f'<pre class="pnb-code"{label}><code>{inner}</code></pre>'


def _can_be_coloured(code: str, language: str) -> bool:
    limit = _SQUARE_LIMIT if language in _SQUARE else MAX_CHARACTERS
    return (
        language in _COLOURED
        and len(code) <= limit
        and max(map(len, code.split("\n"))) <= MAX_LINE
        and _MANY_BLANK_LINES.search(code) is None
    )


def _coloured(code: str, language: str) -> str | None:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        lexer: Lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:  # an older pygments
        return None
    coloured: str = highlight(code, lexer, HtmlFormatter(nowrap=True, classprefix="pnb-"))
    return coloured
