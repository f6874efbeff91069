"""A small HTML table: everything in it escaped, its colours taken from the notebook's theme, light or dark."""

from __future__ import annotations

import html
from collections.abc import Collection, Iterable, Sequence

_SHADE = "background:rgba(66,133,244,{share:.2f})"
_TEXT = "text-align:left;vertical-align:top;white-space:pre-wrap"
_NO_TEX = "tex2jax_ignore mathjax_ignore"  # a front end would make formulas of prices, and run a model's TeX macros
_BESIDE_TEXT = "vertical-align:top"


def html_table(
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    shares: Sequence[Sequence[float]] | None = None,
    texts: Collection[int] = (),
) -> str:
    """Return a table whose first cell of each row is a heading; numbers that are not whole have three digits.

    ``shares`` in 0..1 shade the other cells. Columns in ``texts`` are flush left, their line breaks kept. Without
    ``header`` there is no first line.
    """
    head = "".join(_cell("th", name, _style(column, texts)) for column, name in enumerate(header))
    lines = []
    for index, row in enumerate(rows):
        # half as strong as the share, so that text of either theme can be read on it
        shades = [_SHADE.format(share=share / 2) for share in shares[index]] if shares else []
        styles = ["", *shades] if shades else [_style(column, texts) for column in range(len(row))]
        cells = zip(["th", *["td"] * (len(row) - 1)], row, styles, strict=True)
        lines.append(f"<tr>{''.join(_cell(tag, value, style) for tag, value, style in cells)}</tr>")
    first = f"<thead><tr>{head}</tr></thead>" if header else ""
    return f'<table class="{_NO_TEX}">{first}<tbody>{"".join(lines)}</tbody></table>'


def _style(column: int, texts: Collection[int]) -> str:
    if column in texts:
        return _TEXT
    return _BESIDE_TEXT if texts else ""


def _cell(tag: str, value: object, style: str) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    opened = f'{tag} style="{style}"' if style else tag
    return f"<{opened}>{html.escape(text)}</{tag}>"
