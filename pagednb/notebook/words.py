r"""Words of a magic's line and the values of its flags. Pure functions: no shell, no engine.

Used by everything here that reads a line. Two things differ from IPython's own splitting: quotes around a value are
taken off and its escapes understood, and every word knows where it starts, so that a prompt reaches the model exactly
as it was typed. What is wrong with a value is an ``ArgumentTypeError``, which argparse shows after the flag's name.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from typing import NamedTuple

from pagednb.errors import OptionError, nearest_name

_QUOTED = r'"(?:\\.|[^"\\])*"' + "|" + r"'(?:\\.|[^'\\])*'"
_ITEM = rf"(?:{_QUOTED}|[^\s,'\"]*)"
# quotes mean something where an item begins: an apostrophe inside a word is an ordinary character
_WORD = re.compile(rf"(?=\S)(?:-[\w-]+=)?{_ITEM}(?:,{_ITEM})*(?=\s|$)|\S+", re.DOTALL)
_WHOLLY_QUOTED = re.compile(_QUOTED, re.DOTALL)
_LIST_ITEM = re.compile(rf"\s*((?:{_QUOTED})(?=\s*(?:,|$))|[^,]*)(?:,|$)", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|([ntr\\'\"]))")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}


class Word(NamedTuple):
    """One word of a line, quotes kept, and where it starts."""

    text: str
    start: int


def split_words(line: str) -> list[Word]:
    """Split at whitespace outside quotes; an apostrophe without a partner is an ordinary character."""
    return [Word(match.group(), match.start()) for match in _WORD.finditer(line)]


def strip_quotes(text: str) -> str:
    """Take one pair of matching quotes off, when they enclose the whole text."""
    return text[1:-1] if _WHOLLY_QUOTED.fullmatch(text) else text


def text_value(text: str) -> str:
    r"""Value of a text flag: without its quotes, with ``\n \t \r \\ \' \" \uXXXX`` understood."""
    return _ESCAPE.sub(_unescape, strip_quotes(text))


def text_list(text: str) -> list[str]:
    """Value of a flag that takes texts with commas between them; a text that holds a comma stands in quotes."""
    inner = strip_quotes(text)
    items = [match[1].strip() for match in _LIST_ITEM.finditer(inner)]
    if not inner.endswith(",") and len(items) > 1 and items[-1] == "":
        items.pop()  # the empty match at the end
    return [text_value(item) for item in items]


def whole_numbers(text: str) -> list[int]:
    """Value of a flag that takes whole numbers with commas between them."""
    try:
        return [int(item) for item in strip_quotes(text).split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"needs whole numbers with commas between them, not {text!r}") from None


def number_map(text: str) -> dict[int, float]:
    """Value of ``--logit-bias``: ``42:-100,7:2.5``."""
    pairs = [item.partition(":") for item in strip_quotes(text).split(",")]
    try:
        return {int(key): float(value) for key, _, value in pairs}
    except ValueError:
        raise argparse.ArgumentTypeError(f"needs pairs like 42:-100,7:2.5, not {text!r}") from None


def whole_number(text: str) -> int:
    """Value of a flag that takes a whole number."""
    try:
        return int(strip_quotes(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"needs a whole number, not {text!r}") from None


def number(text: str) -> float:
    """Value of a flag that takes a number."""
    try:
        return float(strip_quotes(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"needs a number, not {text!r}") from None


def whole_number_or_none(text: str) -> int | None:
    """Value of a flag that takes a whole number, or ``none``."""
    inner = strip_quotes(text)
    if inner.lower() == "none":
        return None
    try:
        return int(inner)
    except ValueError:
        raise argparse.ArgumentTypeError(f"needs a whole number or none, not {text!r}") from None


def unknown_word(kind: str, word: str, known: Iterable[str]) -> OptionError:
    """Make the error for a word that is none of ``known``: naming the one nearest to it."""
    without_dashes = {name.lstrip("-"): name for name in known}  # dashes make no two flags alike
    nearest = nearest_name(word.lstrip("-"), without_dashes)
    hint = (
        f"Did you mean {without_dashes[nearest]}?" if nearest else f"Choose from {', '.join(without_dashes.values())}."
    )
    return OptionError(f"Unknown {kind} {word!r}.", hint=hint)


def _unescape(match: re.Match[str]) -> str:
    code, letter = match.groups()
    return chr(int(code, 16)) if code else _ESCAPED.get(letter, letter)
