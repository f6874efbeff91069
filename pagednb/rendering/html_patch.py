"""What a view of a growing answer does next."""

from __future__ import annotations

from typing import NamedTuple


class HtmlPatch(NamedTuple):
    """Keep the first ``keep`` blocks, put ``blocks`` in place of all others, then append ``tail`` where text grows.

    Attributes:
        keep: leading top-level blocks (child elements of the answer's ``.pnb-markdown``) that stay as they are.
        blocks: sanitised HTML, one element each.
        tail: plain text, for a text node. It belongs at the end of the last element of class ``pnb-tail`` within the
            last block. That element is there in every block that may get a tail, so inside its code, cell or paragraph.
    """

    keep: int
    blocks: tuple[str, ...] = ()
    tail: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether it changes nothing of a view that shows ``keep`` blocks."""
        return not self.blocks and not self.tail
