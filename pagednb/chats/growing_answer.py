"""An answer while its tokens come: text and thoughts apart, and the figures of the moment. Belongs to one thread."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

from pagednb.chats.turn import AnswerFigures, Turn, TurnState
from pagednb.outputs import RequestOutput
from pagednb.rendering.thinking import Piece, ThinkingSplitter

_REASON_TO_STATE: dict[str | None, TurnState] = {None: "streaming", "stop": "done", "length": "cut", "abort": "stopped"}


class GrowingAnswer:
    """What has come of the answer to be ``turn``; ``asked_s`` on ``clock``, which is the engine's."""

    def __init__(
        self,
        turn: Turn,
        figures: AnswerFigures,
        *,
        asked_s: float,
        starts_inside: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._turn = turn
        self._figures = figures
        self._asked_s = asked_s
        self._clock = clock
        self._splitter = ThinkingSplitter(starts_inside=starts_inside)
        self._parts = {"thinking": "", "answer": ""}

    def take(self, output: RequestOutput) -> None:
        """Add what is new; ``output`` is one of a stream of deltas."""
        (completion,) = output.outputs
        pieces = self._splitter.push(completion.text)
        if output.finished:
            pieces = [*pieces, *self._splitter.finish()]
        self._count(output, len(completion.token_ids), pieces)
        for piece in pieces:
            self._parts[piece.kind] = (self._parts[piece.kind] + piece.text).lstrip(
                "\n"
            )  # there are some after thoughts
        self._turn = dataclasses.replace(
            self._turn,
            thinking=self._parts["thinking"].strip(),
            text=self._parts["answer"],
            state=_REASON_TO_STATE[completion.finish_reason],
            figures=self._figures,
        )

    @property
    def turn(self) -> Turn:
        """The turn of this moment."""
        return self._turn

    def _count(self, output: RequestOutput, num_new: int, pieces: list[Piece]) -> None:
        now_s = self._clock()
        first_s = None if output.metrics is None else output.metrics.first_token_s
        figures = dataclasses.replace(
            self._figures,
            num_cached_tokens=output.num_cached_tokens,
            num_new_tokens=self._figures.num_new_tokens + num_new,
            first_token_s=None if first_s is None else max(0.0, first_s - self._asked_s),
            duration_s=now_s - self._asked_s,
        )
        if any(piece.kind == "thinking" for piece in pieces):
            thinking_s = figures.duration_s - (figures.first_token_s or 0.0)
            figures = dataclasses.replace(
                figures, num_thinking_tokens=figures.num_new_tokens, thinking_s=max(0.0, thinking_s)
            )
        self._figures = figures
