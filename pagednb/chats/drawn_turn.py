"""A turn as a browser draws it: sanitised HTML in blocks, and plain figures. Everything here is JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from pagednb.chats.turn import AnswerFigures, Turn
from pagednb.rendering.html_patch import HtmlPatch
from pagednb.rendering.markdown import render_markdown
from pagednb.rendering.streamed import StreamedMarkdown


def figures_dict(figures: AnswerFigures | None) -> dict[str, Any] | None:
    """Return figures with the speed that follows from them; times to the millisecond."""
    if figures is None:
        return None
    exact = {**dataclasses.asdict(figures), "tokens_per_s": figures.tokens_per_s}
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in exact.items()}


def changed_figures(before: AnswerFigures | None, now: AnswerFigures | None) -> dict[str, Any]:
    """Return those of the figures that are others now."""
    known = figures_dict(before) or {}
    return {name: value for name, value in (figures_dict(now) or {}).items() if known.get(name, ...) != value}


def drawn_turn(turn: Turn, siblings: Sequence[str]) -> dict[str, Any]:
    """Return all of a turn but the HTML of an answer."""
    return {
        "id": turn.turn_id,
        "role": turn.role,
        "state": turn.state,
        "text": turn.text,
        "error": turn.error,
        "is_edited": turn.is_edited,
        "siblings": list(siblings),
        "figures": figures_dict(turn.figures),
    }


def drawn_parts(turn: Turn) -> dict[str, Any]:
    """Return the HTML of a turn that grows no more; a question has none: it is shown as it was typed."""
    if turn.role == "user":
        return {}
    return {part: {"blocks": [render_markdown(text)] if text else [], "tail": ""} for part, text in _texts(turn)}


class GrowingDrawing:
    """The HTML of an answer on its way, as far as views have it."""

    def __init__(self, turn_id: str) -> None:
        self.turn_id = turn_id
        self._parts = {"thinking": _Part(), "answer": _Part()}

    def parts(self) -> dict[str, Any]:
        """Return what views have by now."""
        shown = {name: part.stream.snapshot() for name, part in self._parts.items()}
        return {name: {"blocks": list(patch.blocks), "tail": patch.tail} for name, patch in shown.items()}

    def patches(self, turn: Turn) -> Iterator[dict[str, Any]]:
        """Yield what a view does to show the turn as it is now; of one that grows no more the last there is to do."""
        for name, text in _texts(turn):
            for patch in self._parts[name].patches(text, is_last=not turn.is_streaming):
                yield {"part": name, "keep": patch.keep, "blocks": list(patch.blocks), "tail": patch.tail}


class _Part:
    """The thoughts or the answer: its markdown so far, and how much of it is on its way."""

    def __init__(self) -> None:
        self.stream = StreamedMarkdown()
        self._num_pushed = 0
        self._num_blocks = 0

    def patches(self, text: str, *, is_last: bool) -> Iterator[HtmlPatch]:
        delta = text[self._num_pushed :]
        self._num_pushed = len(text)
        if delta:
            yield from self._unless_empty(self.stream.push(delta))
        if is_last and text:
            yield from self._unless_empty(self.stream.finish())

    def _unless_empty(self, patch: HtmlPatch) -> Iterator[HtmlPatch]:
        if not patch.is_empty or patch.keep < self._num_blocks:
            self._num_blocks = patch.keep + len(patch.blocks)
            yield patch


def _texts(turn: Turn) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("thinking", turn.thinking), ("answer", turn.text)
