"""The fences around code in a markdown text: what stands in the first, and texts that keep theirs closed."""

from __future__ import annotations

import re

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})([^\n`]*)$", re.MULTILINE)


def has_fence(text: str) -> bool:
    """Whether there is code in fences, if only its beginning."""
    return _FENCE.search(text) is not None


def first_code_block(text: str) -> str:
    """Return what stands in the first fence of a markdown text, or all of a text without fences."""
    opening = _FENCE.search(text)
    if opening is None:
        return text
    for closing in _FENCE.finditer(text, opening.end()):
        if _closes(opening, closing):
            return text[opening.end() + 1 : closing.start()].removesuffix("\n")
    return text[opening.end() + 1 :]


def closed_markdown(text: str) -> str:
    """Return a markdown text with the fence closed that it ends in, so that what follows is no part of the code."""
    opening: re.Match[str] | None = None
    for fence in _FENCE.finditer(text):
        if opening is None:
            opening = fence
        elif _closes(opening, fence):
            opening = None
    return text if opening is None else f"{text}\n{opening[1]}"


def fenced(text: str, language: str) -> str:
    """Return a text as a block of code, whatever fences it holds itself."""
    opened = open_fence(text, language)
    return f"{opened}\n{opened[: len(opened) - len(opened.lstrip('`'))]}"


def open_fence(text: str, language: str) -> str:
    """Return a text as a block of code that goes on."""
    longest = max((len(match[1]) for match in _FENCE.finditer(text)), default=0)
    return f"{'`' * max(3, longest + 1)}{language}\n{text}"


def _closes(opening: re.Match[str], fence: re.Match[str]) -> bool:
    return fence[1].startswith(opening[1]) and not fence[2].strip()
