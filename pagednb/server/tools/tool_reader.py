"""Readers find calls in text that comes in pieces. One for each way in which models write them.

``push`` returns what is certain so far, ``finish`` the rest. What begins like a call and is none comes out as text.
"""

from __future__ import annotations

import json
from typing import Protocol

from pagednb.engine.stop_strings import held_back
from pagednb.server.tools.tool_call import Piece, ToolCall, calls_from_text


class ToolReader(Protocol):
    """Reads one answer."""

    def push(self, text: str) -> list[Piece]:
        """Take the next piece of text."""

    def finish(self) -> list[Piece]:
        """Take the end."""


class HermesReader:
    """``<tool_call>{"name": ..., "arguments": {...}}</tool_call>``, any number of them: Hermes, Qwen and others."""

    _OPEN, _CLOSE = "<tool_call>", "</tool_call>"

    def __init__(self) -> None:
        self._rest = ""
        self._blank = ""  # white space before the tag that was opened last
        self._is_inside = False
        self._has_called = False

    def push(self, text: str) -> list[Piece]:
        """See ``ToolReader``."""
        self._rest += text
        pieces: list[Piece] = []
        while (cut := self._rest.find(self._CLOSE if self._is_inside else self._OPEN)) >= 0:
            before = self._rest[:cut]
            if self._is_inside:
                pieces += self._read(before, self._CLOSE)
                self._rest = self._rest[cut + len(self._CLOSE) :]
            else:
                shown = before.rstrip()
                self._blank = before[len(shown) :]
                pieces += [shown] if shown else []
                self._rest = self._rest[cut + len(self._OPEN) :]
            self._is_inside = not self._is_inside
        if not self._is_inside:
            pieces += self._certain_text()
        return pieces

    def finish(self) -> list[Piece]:
        """See ``ToolReader``; a last call may lack its closing tag."""
        rest, self._rest = self._rest, ""
        if self._is_inside:
            return self._read(rest, "")
        return [rest] if rest and not (self._has_called and not rest.strip()) else []

    def _read(self, inner: str, close: str) -> list[Piece]:
        calls = calls_from_text(inner)
        self._has_called = self._has_called or calls is not None
        return [self._blank + self._OPEN + inner + close] if calls is None else [*calls]

    def _certain_text(self) -> list[Piece]:
        """Return what cannot belong to a tag; white space waits too: before a call it is left out."""
        text = self._rest[: len(self._rest) - held_back(self._rest, (self._OPEN,))].rstrip()
        self._rest = self._rest[len(text) :]
        return [text] if text else []


class LlamaReader:
    """The whole answer is JSON: ``{"name": ..., "parameters": {...}}``, several with ``;`` between: Llama 3."""

    _TAG = "<|python_tag|>"

    def __init__(self) -> None:
        self._rest = ""
        self._is_text = False

    def push(self, text: str) -> list[Piece]:
        """See ``ToolReader``."""
        if self._is_text:
            return [text] if text else []
        self._rest += text
        begin = self._rest.lstrip()
        if not begin or begin[0] == "{" or begin.startswith(self._TAG) or self._TAG.startswith(begin):
            return []
        self._is_text = True
        rest, self._rest = self._rest, ""
        return [rest]

    def finish(self) -> list[Piece]:
        """See ``ToolReader``."""
        calls = calls_from_text(self._rest.strip().removeprefix(self._TAG))
        if calls is not None:
            return [*calls]
        return [self._rest] if self._rest else []


class MistralReader:
    """``[TOOL_CALLS]`` and a list of calls; or, of later models, name and arguments after each mark."""

    _MARK, _ARGS, _ID = "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"

    def __init__(self) -> None:
        self._rest = ""
        self._is_inside = False

    def push(self, text: str) -> list[Piece]:
        """See ``ToolReader``."""
        self._rest += text
        if self._is_inside:
            return []
        cut = self._rest.find(self._MARK)
        self._is_inside = cut >= 0
        end = cut if self._is_inside else len(self._rest) - held_back(self._rest, (self._MARK,))
        shown = self._rest[:end].rstrip()  # white space waits: before calls it is left out
        self._rest = self._rest[len(shown) :]
        return [shown] if shown else []

    def finish(self) -> list[Piece]:
        """See ``ToolReader``."""
        if not self._is_inside:
            return [self._rest] if self._rest else []
        inner = self._rest.lstrip().removeprefix(self._MARK)
        calls = calls_from_text(inner) or self._named_calls(inner)
        return [self._rest] if calls is None else [*calls]

    def _named_calls(self, text: str) -> list[ToolCall] | None:
        calls = []
        for part in text.split(self._MARK):
            name, brace, arguments = part.partition("{")
            name = name.replace(self._ARGS, "").partition(self._ID)[0].strip()
            if not name or not brace or not _is_object(brace + arguments):
                return None
            calls.append(ToolCall(name, (brace + arguments).strip()))
        return calls


class ForcedReader:
    """An answer that was constrained to be calls: a list of them, or the arguments of the function ``name``."""

    def __init__(self, name: str | None = None) -> None:
        self._name = name
        self._rest = ""

    def push(self, text: str) -> list[Piece]:
        """See ``ToolReader``."""
        self._rest += text
        return []

    def finish(self) -> list[Piece]:
        """See ``ToolReader``; an answer cut off by its length comes out as text, unless it is one call's arguments."""
        if self._name is not None:
            return [ToolCall(self._name, self._rest)]
        calls = calls_from_text(self._rest)
        if calls is not None:
            return [*calls]
        return [self._rest] if self._rest else []


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
