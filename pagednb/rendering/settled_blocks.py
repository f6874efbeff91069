"""Which blocks of a growing text can no longer change.

A block is settled when its own last line says so, when a blank line ends it, or when the next block has begun for
certain: in its first line, or for a table in its first two. A line counts once its end has arrived.
"""

from __future__ import annotations

from collections.abc import Sequence

from pagednb.rendering.blocks import Block

_ENDED_BY_ITS_LAST_LINE = frozenset({"hr", "heading_open", "math_block"})
_ENDED_BY_A_BLANK_LINE = frozenset({"paragraph_open", "table_open"})


def num_settled(blocks: Sequence[Block], lines: Sequence[str]) -> int:
    """Return how many leading ``blocks`` stay as they are, whatever follows ``lines``, the last of which may grow."""
    num_complete = len(lines) - 1
    for place, block in enumerate(blocks):
        has_follower = place + 1 < len(blocks) and blocks[place + 1].first + 2 <= num_complete
        if not has_follower and not _is_ended(block, lines, num_complete):
            return place
    return len(blocks)


def is_open_fence(block: Block, lines: Sequence[str]) -> bool:
    """Whether ``block`` is code whose end has not arrived."""
    if block.kind != "fence":
        return False
    last = lines[block.last - 1].strip()
    has_end = block.last - block.first > 1 and last.startswith(block.markup) and not last.strip(block.markup[0])
    return not has_end


def _is_ended(block: Block, lines: Sequence[str], num_complete: int) -> bool:
    if block.kind in _ENDED_BY_ITS_LAST_LINE or (block.kind == "fence" and not is_open_fence(block, lines)):
        return block.last <= num_complete
    return block.kind in _ENDED_BY_A_BLANK_LINE and block.last < num_complete and not lines[block.last].strip(" \t")
