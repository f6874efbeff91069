"""Takes one answer apart as it comes: what is thought, what is said, and what is called."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from pagednb.rendering.thinking import Piece as Thought
from pagednb.rendering.thinking import ThinkingSplitter
from pagednb.server.tools.tool_call import Piece, ToolCall
from pagednb.server.tools.tool_reader import ToolReader


@dataclasses.dataclass(frozen=True, slots=True)
class Delta:
    """What a piece of text brought."""

    reasoning: str = ""
    content: str = ""
    calls: tuple[ToolCall, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.reasoning or self.content or self.calls)


class ChoiceReader:
    """``thinking`` is None for models that do not think, ``tools`` where there can be no calls.

    Empty lines between a thought and what follows belong to neither.
    """

    def __init__(self, thinking: ThinkingSplitter | None, tools: ToolReader | None) -> None:
        self._thinking = thinking
        self._tools = tools
        self._follows_thought = False

    def push(self, text: str) -> Delta:
        """Take the next piece of text and return what is certain now."""
        if self._thinking is None:
            return _delta("", self._read(text))
        return self._sorted(self._thinking.push(text))

    def finish(self) -> Delta:
        """Take the end and return the rest."""
        rest = self._sorted(() if self._thinking is None else self._thinking.finish())
        last = _delta("", [] if self._tools is None else self._tools.finish())
        return Delta(rest.reasoning, rest.content + last.content, rest.calls + last.calls)

    def _sorted(self, pieces: Iterable[Thought]) -> Delta:
        thought, said = "", list[Piece]()
        for kind, text in pieces:
            if kind == "thinking":
                thought += text
                self._follows_thought = True
            else:
                shown = text.lstrip("\n") if self._follows_thought else text
                self._follows_thought = self._follows_thought and not shown
                said += self._read(shown)
        return _delta(thought, said)

    def _read(self, text: str) -> list[Piece]:
        return [text] if self._tools is None else self._tools.push(text)


def _delta(thought: str, pieces: Iterable[Piece]) -> Delta:
    pieces = list(pieces)
    content = "".join(piece for piece in pieces if isinstance(piece, str))
    return Delta(thought, content, tuple(piece for piece in pieces if isinstance(piece, ToolCall)))
