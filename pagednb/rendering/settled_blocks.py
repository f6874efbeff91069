"""Which blocks of a growing text can no longer change.

A block is settled when the next one has begun for certain. What begins a block is seen in its first line, or for a
table in its first two; a line counts once its end has arrived.
"""

from __future__ import annotations

from collections.abc import Sequence

from pagednb.rendering.blocks import Block

_ENDED_BY_A_BLANK_LINE = frozenset({"paragraph_open", "table_open", "heading_open", "hr", "math_block"})
_LONGEST_FENCE = 100  # longer ones are drawn like any other block


def num_settled(blocks: Sequence[Block], source: str) -> int:
    """Return how many leading ``blocks`` stay as they are, whatever follows ``source``."""
    num_complete = source.count("\n")
    lines = source.split("\n")
    for place, block in enumerate(blocks):
        has_follower = place + 1 < len(blocks) and blocks[place + 1].first + 2 <= num_complete
        if not has_follower and not _is_ended(block, lines, num_complete):
            return place
    return len(blocks)


def _is_ended(block: Block, lines: Sequence[str], num_complete: int) -> bool:
    if block.last >= num_complete:
        return False
    return block.kind in _ENDED_BY_A_BLANK_LINE and not lines[block.last].strip(" \t")


def open_fence(block: Block, lines: Sequence[str]) -> str:
    """Return the marks that will end ``block``, if it is a code block whose end has not arrived; else ""."""
    if block.kind != "fence" or len(block.markup) > _LONGEST_FENCE:
        return ""
    last = lines[block.last - 1].strip()
    is_closed = block.last - block.first > 1 and last.startswith(block.markup) and not last.strip(block.markup[0])
    return "" if is_closed else block.markup
