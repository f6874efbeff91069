"""A small HTML table: everything in it escaped, its colours taken from the notebook's theme, light or dark."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

_SHADE = "background:rgba(66,133,244,{share:.2f})"


def html_table(
    header: Sequence[str], rows: Iterable[Sequence[object]], *, shares: Sequence[Sequence[float]] | None = None
) -> str:
    """Return a table whose first cell of each row is a heading; ``shares`` in 0..1 shade the other cells."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    body = "".join(
        f"<tr><th>{_escaped(first)}</th>{''.join(_cells(rest, shares[index] if shares else ()))}</tr>"
        for index, (first, *rest) in enumerate(rows)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cells(values: Sequence[object], shares: Sequence[float]) -> Iterable[str]:
    for index, value in enumerate(values):
        # half as strong as the share, so that text of either theme can be read on it
        style = f' style="{_SHADE.format(share=shares[index] / 2)}"' if shares else ""
        yield f"<td{style}>{_escaped(value)}</td>"


def _escaped(value: object) -> str:
    return html.escape(str(value))
