"""Markdown that arrives in pieces, drawn as it arrives, with work and traffic linear in the answer.

Blocks that nothing can change any more are drawn once and stay. The last block is drawn again while that is cheap;
between two drawings, and for all of a long code block, its new text goes out as plain text. ``finish`` leaves a view
with exactly what ``render_markdown`` makes of the whole text.
"""

from __future__ import annotations

import re
from itertools import takewhile

from pagednb.rendering.blocks import Block, render_blocks
from pagednb.rendering.growing_place import with_tail
from pagednb.rendering.held_text import split_held
from pagednb.rendering.html_patch import HtmlPatch
from pagednb.rendering.safe_text import safe_code, safe_text
from pagednb.rendering.settled_blocks import is_open_fence, num_settled

__all__ = ["HtmlPatch", "StreamedMarkdown"]

ALLOWANCE = 64_000
"""Characters that drawing again may cost in any answer: short ones are drawn with every piece."""
RATE = 2
"""Beyond the allowance: characters of drawing for each character of the answer's HTML."""

# text that continues a line as itself, whatever stands before it; the marks of markdown are missing here
_PLAIN = re.compile(r"[^\n\\`*_~\[\]<>&$|!#(){}@:]+")


class StreamedMarkdown:
    """One answer. Push its deltas in order, give each patch to every view, then ``finish``.

    Args:
        allowance: characters that drawing may cost beyond ``RATE``.
    """

    def __init__(self, *, allowance: int = ALLOWANCE) -> None:
        self._allowance = allowance
        self._settled: list[str] = []
        self._open: list[str] = []  # HTML of the blocks that may change
        self._source = ""  # their markdown, as far as it is drawn
        self._pieces: list[str] = []  # the markdown after it, shown as plain text
        self._tail: list[str] = []  # that plain text
        self._held = ""  # the end, not shown yet
        self._fence = ""  # the marks that end the code block which the text ends in
        self._settled_size = self._open_size = self._tail_size = 0
        self._spent = 0
        self._is_line_start = True  # whether the next delta begins a line

    @property
    def num_drawn_characters(self) -> int:
        """What drawing has cost so far, in characters of markdown and of HTML, whichever were more each time."""
        return self._spent

    def push(self, delta: str) -> HtmlPatch:
        """Return what changes by ``delta``."""
        text, self._held = split_held(self._held + delta, is_line_start=self._is_line_start)
        if not text:
            return HtmlPatch(self._num_shown)
        text = safe_text(text)
        was_line_start, self._is_line_start = self._is_line_start, text.endswith("\n")
        self._pieces.append(text)
        if self._stays_plain(text, was_line_start=was_line_start):
            return self._append(text)
        return self._draw()

    def finish(self) -> HtmlPatch:
        """Return what makes a view that of the whole text; push nothing after it."""
        held, self._held = safe_text(self._held), ""
        self._pieces.append(held)
        blocks = self._rendered(self._take_source(), is_growing=False)
        return self._show([block.html for block in blocks], num_settled=len(blocks))

    def snapshot(self) -> HtmlPatch:
        """Return all that is shown by now, for a view that opens late; pushes go on as before."""
        return HtmlPatch(0, (*self._settled, *self._open), "".join(self._tail))

    @property
    def _num_shown(self) -> int:
        return len(self._settled) + len(self._open)

    def _stays_plain(self, text: str, *, was_line_start: bool) -> bool:
        """Whether ``text`` goes out as plain text: it looks the same drawn, or drawing is too dear by now."""
        if not self._open:
            return False
        if self._fence:
            return not _closes(self._fence, text, is_line_start=was_line_start)
        if not was_line_start and _PLAIN.fullmatch(text):
            return True
        size = self._open_size + self._tail_size + len(text)
        return self._spent + size > self._allowance + RATE * (self._settled_size + size)

    def _append(self, text: str) -> HtmlPatch:
        if self._fence:
            text = safe_code(text)
        elif not self._tail and self._source.endswith("\n"):
            text = "\n" + text  # HTML of the block ends before its line end
        self._tail.append(text)
        self._tail_size += len(text)
        return HtmlPatch(self._num_shown, tail=text)

    def _draw(self) -> HtmlPatch:
        source = self._take_source()
        blocks = self._rendered(source, is_growing=True)
        lines = source.split("\n")
        settled = num_settled(blocks, lines)
        shown = [block.html for block in blocks]
        if settled < len(blocks):
            shown[-1] = with_tail(shown[-1])
            self._fence = blocks[-1].markup if is_open_fence(blocks[-1], lines) else ""
        self._source = "\n".join(lines[_first_open_line(blocks, settled, lines) :])
        return self._show(shown, num_settled=settled)

    def _take_source(self) -> str:
        source = self._source + "".join(self._pieces)
        self._source, self._pieces = "", []
        return source

    def _rendered(self, source: str, *, is_growing: bool) -> list[Block]:
        blocks = render_blocks(source, is_growing=is_growing)
        self._spent += max(len(source), sum(len(block.html) for block in blocks))
        return blocks

    def _show(self, shown: list[str], *, num_settled: int) -> HtmlPatch:
        """Put ``shown`` in place of the open blocks; the first ``num_settled`` of them stay for good."""
        unchanged = len(self._open) - bool(self._tail)  # text was appended to the last of them
        pairs = zip(self._open[:unchanged], shown, strict=False)
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        patch = HtmlPatch(len(self._settled) + same, tuple(shown[same:]))
        self._settled += shown[:num_settled]
        self._open, self._tail = shown[num_settled:], []
        self._settled_size += sum(map(len, shown[:num_settled]))
        self._open_size, self._tail_size = sum(map(len, self._open)), 0
        return patch


def _first_open_line(blocks: list[Block], settled: int, lines: list[str]) -> int:
    """Return where the text begins that is read again with the next drawing."""
    if settled < len(blocks):
        return blocks[settled].first
    return blocks[-1].last if blocks else len(lines) - 1


def _closes(fence: str, text: str, *, is_line_start: bool) -> bool:
    """Whether a whole line of ``text`` ends the code block that ``fence`` began."""
    lines = text.split("\n")[0 if is_line_start else 1 : -1]
    return any(len(line) - len(line.lstrip(" ")) < 4 and _is_fence(line.strip(), fence) for line in lines)


def _is_fence(line: str, fence: str) -> bool:
    return line.startswith(fence) and not line.strip(fence[0])
