"""Rows in chunks of a size that the tokenizer takes at once, and what makes a row's text no prompt."""

from __future__ import annotations

from collections.abc import Iterator

from pagednb.checks import is_unicode
from pagednb.errors import PagednbError

CHUNK_ROWS = 256
"""Rows encoded at once: large enough for the tokenizer's batch speed, small enough that the engine never waits long."""

CHUNK_CHARS = 1_000_000
"""A chunk of longer rows ends here: the tokenizer hears no interrupt, so a batch must take well under 0.5 s."""

Prompt = tuple[int, str | PagednbError]
"""Position of a row and its text, or why it has none."""


def chunks_of(prompts: Iterator[Prompt]) -> Iterator[list[Prompt]]:
    """Yield the rows in lists of up to ``CHUNK_ROWS`` and about ``CHUNK_CHARS``."""
    chunk: list[Prompt] = []
    num_chars = 0
    for prompt in prompts:
        chunk.append(prompt)
        num_chars += len(prompt[1]) if isinstance(prompt[1], str) else 0
        if len(chunk) == CHUNK_ROWS or num_chars >= CHUNK_CHARS:
            yield chunk
            chunk, num_chars = [], 0
    if chunk:
        yield chunk


def why_unrunnable(text: str) -> str | None:
    """Return why no model can take a row's text, as a sentence; None if one can."""
    if not text or text.isspace():
        return "The prompt is empty."
    if not is_unicode(text):
        return "The text is not valid Unicode (it holds a lone surrogate)."
    return None
