"""Takes one answer apart as it comes: what is said, and what is called."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pagednb.server.tools.tool_call import Piece, ToolCall
from pagednb.server.tools.tool_reader import ToolReader


@dataclasses.dataclass(frozen=True, slots=True)
class Delta:
    """What a piece of text brought."""

    content: str = ""
    calls: tuple[ToolCall, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.content or self.calls)


class ChoiceReader:
    """``tools`` is None where there can be no calls."""

    def __init__(self, tools: ToolReader | None) -> None:
        self._tools = tools

    def push(self, text: str) -> Delta:
        """Take the next piece of text and return what is certain now."""
        return _sorted([text] if self._tools is None else self._tools.push(text))

    def finish(self) -> Delta:
        """Take the end and return the rest."""
        return _sorted([] if self._tools is None else self._tools.finish())


def _sorted(pieces: Sequence[Piece]) -> Delta:
    content = "".join(piece for piece in pieces if isinstance(piece, str))
    return Delta(content, tuple(piece for piece in pieces if isinstance(piece, ToolCall)))
