"""Thoughts apart from the answer, in a text that arrives in pieces.

A model thinks first, if at all: the opening tag counts only before any other text, the closing tag once. Tags in the
answer itself are text, so a model may explain them.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

PieceKind = Literal["thinking", "answer"]


class Piece(NamedTuple):
    """Text of one kind, never empty."""

    kind: PieceKind
    text: str


class ThinkingSplitter:
    """Splits the deltas of one turn. The pieces, joined, are the text without its tags.

    Args:
        starts_inside: the prompt itself ended with the opening tag, as some chat templates do.
    """

    def __init__(self, open: str = "<think>", close: str = "</think>", *, starts_inside: bool = False) -> None:
        self._open, self._close = open, close
        self._held = ""  # may be the beginning of a tag
        self._wanted: str | None = close if starts_inside else open

    @property
    def is_thinking(self) -> bool:
        """Whether the text so far ends in a thought."""
        return self._wanted == self._close

    def push(self, delta: str) -> list[Piece]:
        """Return what is certain by now; a possible half of a tag waits for the next delta."""
        text = self._held + delta
        self._held = ""
        pieces: list[Piece] = []
        if self._wanted == self._open:
            text = self._before(text, pieces)
        if self._wanted == self._close:
            text = self._inside(text, pieces)
        if self._wanted is None:
            pieces.append(Piece("answer", text))
        return [piece for piece in pieces if piece.text]

    def finish(self) -> list[Piece]:
        """Return what was held back; a thought without an end stays a thought."""
        held, self._held = self._held, ""
        return [Piece("thinking" if self.is_thinking else "answer", held)] if held else []

    def _before(self, text: str, pieces: list[Piece]) -> str:
        start = text.lstrip()
        blank = text[: len(text) - len(start)]
        if start.startswith(self._open):
            self._wanted = self._close
            pieces.append(Piece("thinking", blank))
            return start.removeprefix(self._open)
        if self._open.startswith(start):
            self._held = text
            return ""
        self._wanted = None
        return text

    def _inside(self, text: str, pieces: list[Piece]) -> str:
        thought, tag, rest = text.partition(self._close)
        if tag:
            self._wanted = None
            pieces.append(Piece("thinking", thought))
            return rest
        self._held = _tag_start(text, self._close)
        pieces.append(Piece("thinking", text.removesuffix(self._held)))
        return ""


def _tag_start(text: str, tag: str) -> str:
    """Return the longest end of ``text`` that ``tag`` may begin with."""
    sizes = range(min(len(tag) - 1, len(text)), 0, -1)
    return next((tag[:size] for size in sizes if text.endswith(tag[:size])), "")
