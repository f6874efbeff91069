"""A table of texts for a terminal: columns as wide as their widest cell, the head underlined."""

from __future__ import annotations

from collections.abc import Sequence

_GAP = "  "


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Return the lines of a table; the columns numbered in ``right`` are aligned to the right."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]

    def laid_out(cells: Sequence[str]) -> str:
        pairs = enumerate(zip(cells, widths, strict=True))
        return _GAP.join(cell.rjust(width) if i in right else cell.ljust(width) for i, (cell, width) in pairs).rstrip()

    rule = _GAP.join("-" * width for width in widths)
    return "\n".join([laid_out(head), rule, *map(laid_out, rows)])
