"""A still picture of the KV blocks, as the monitor draws them: SVG for notebooks and where they are read, or letters.

A cell is a block, coloured by the request that owns it and filled as far as it holds tokens. Kinds of blocks differ in
shape and lightness too, so that no colour need be told from another to tell them apart.
"""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Iterator

import numpy as np

from pagednb.engine.status import EngineStatus
from pagednb.monitoring.grid import CACHED, FIRST_OWNERS, FREE, Grid, Owners

MAX_CELLS = 1_024
NUM_HUES = 8
HUES = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#8a7a00", "#7a5cc4")
"""After Okabe and Ito, whose yellow and black do not stand out from paper and ink."""
_INK, _PAPER, _LINE, _FAINT, _GREY = "#1b1f24", "#ffffff", "#c4cad1", "#eef0f2", "#5b6570"

_CELL, _GAP, _MARGIN = 20, 4, 12
_PITCH = _CELL + _GAP
_LINE_HEIGHT, _LETTER = 20, 6.9
_FONT = "font-family='system-ui, sans-serif' font-size='13'"


def picture(status: EngineStatus, caption: str = "", *, columns: int = 32) -> Picture:
    """Return a picture of who owns which KV block, with ``caption`` above it.

    Its rows are as even as they can be with ``columns`` blocks each at most. With more than ``MAX_CELLS`` blocks a cell
    stands for several.
    """
    grid = Grid.of(status.blocks, max_cells=MAX_CELLS)
    num_rows = max(1, -(-grid.num_cells // columns))
    return Picture(grid, caption, max(1, -(-grid.num_cells // num_rows)))


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Picture:
    """The last expression of a cell shows it."""

    grid: Grid
    caption: str
    columns: int

    def __repr__(self) -> str:
        """Return the cells as characters: a letter for each request, # shared, + cached, . free."""
        letters = "".join(self._letter(code) for code in self.grid.codes.tolist())
        lines = [letters[first : first + self.columns] for first in range(0, len(letters), self.columns)]
        return "\n".join([*([self.caption] if self.caption else []), *lines, self._summary()])

    def _repr_svg_(self) -> str:
        lines = [line for line in (self.caption, self._summary()) if line]
        num_columns = min(self.columns, self.grid.num_cells)
        num_rows = -(-self.grid.num_cells // self.columns)
        top = _MARGIN + len(lines) * _LINE_HEIGHT
        legend = list(self._legend())
        text_width = max(len(line) for line in lines) * _LETTER
        width = 2 * _MARGIN + max(num_columns * _PITCH, text_width, 480)
        keys, keys_height = _laid_out(legend, top + num_rows * _PITCH + 8, width - 2 * _MARGIN)
        height = top + num_rows * _PITCH + 8 + keys_height + _MARGIN
        parts = [
            f"<svg xmlns='http://www.w3.org/2000/svg' width='{width:.0f}' height='{height:.0f}' "
            f"viewBox='0 0 {width:.0f} {height:.0f}' role='img' {_FONT}>",
            f"<title>{html.escape(' '.join(lines))}</title>",
            f"<rect width='100%' height='100%' rx='6' fill='{_PAPER}'/>",
        ]
        for number, line in enumerate(lines):
            weight = " font-weight='600'" if self.caption and not number else ""
            y = _MARGIN + 12 + number * _LINE_HEIGHT
            parts.append(f"<text x='{_MARGIN}' y='{y}' fill='{_INK}'{weight}>{html.escape(line)}</text>")
        parts += [self._cell(cell, _MARGIN, top) for cell in range(self.grid.num_cells)]
        return "".join([*parts, *keys, "</svg>"])

    def _summary(self) -> str:
        counts, grid = self.grid.counts, self.grid
        several = f", {grid.per_cell} in each cell" if grid.per_cell > 1 else ""
        return (
            f"{grid.num_blocks:,} blocks of {grid.block_size} tokens{several}: {counts.owned:,} with one owner, "
            f"{counts.shared:,} shared, {counts.cached:,} cached, {counts.free:,} free"
        )

    def _owners(self, code: int) -> Owners:
        return self.grid.owners[code - FIRST_OWNERS]

    def _letter(self, code: int) -> str:
        if code < FIRST_OWNERS:
            return "+" if code == CACHED else "."
        number, (first, *_) = self._owners(code)
        return "#" if number > 1 else "abcdefghijklmnopqrstuvwxyz"[first % 26]

    def _cell(self, cell: int, left: int, top: int) -> str:
        row, column = divmod(cell, self.columns)
        x, y = left + column * _PITCH, top + row * _PITCH
        code = int(self.grid.codes[cell])
        hint = f"<title>{html.escape(self._hint(cell, code))}</title>"
        if len(self.grid.mix):
            return f"<g>{hint}{_mixed(x, y, self._hue(code), self.grid.mix[cell])}</g>"
        share = int(self.grid.tokens[cell]) / self.grid.block_size
        return f"<g>{hint}{_drawn(x, y, code, self._hue(code), share)}</g>"

    def _hue(self, code: int) -> str:
        """Return the colour of a code; none for those that are not one request's."""
        if code < FIRST_OWNERS or self._owners(code).number > 1:
            return ""
        return HUES[self._owners(code).request_ids[0] % NUM_HUES]

    def _hint(self, cell: int, code: int) -> str:
        first = 1 + cell * self.grid.per_cell
        if self.grid.per_cell > 1:
            return f"blocks {first} to {min(first + self.grid.per_cell - 1, self.grid.num_blocks)}"
        if code < FIRST_OWNERS:
            return f"block {first}: {'keeps a prefix' if code == CACHED else 'free'}"
        return f"block {first}: {_names(self._owners(code))}, {self.grid.tokens[cell]} tokens"

    def _legend(self) -> Iterator[tuple[str, str]]:
        """Yield a drawing at (0, 0) and a text for each thing that the picture shows."""
        used = np.unique(self.grid.codes).tolist()
        singles = [code for code in used if code >= FIRST_OWNERS and self._owners(code).number == 1]
        for code in sorted(singles, key=lambda code: self._owners(code).request_ids)[: 2 * NUM_HUES]:
            yield _drawn(0, 0, code, self._hue(code), 1.0), f"request {self._owners(code).request_ids[0]}"
        if self.grid.counts.shared:
            yield _drawn(0, 0, FIRST_OWNERS, "", 1.0), "shared by several"
        if self.grid.counts.cached:
            yield _drawn(0, 0, CACHED, "", 1.0), "cached prefix, no owner"
        if self.grid.counts.free:
            yield _drawn(0, 0, FREE, "", 0.0), "free"


def _names(owners: Owners) -> str:
    named = ", ".join(map(str, owners.request_ids))
    more = "…" if owners.number > len(owners.request_ids) else ""
    return f"request {named}" if owners.number == 1 else f"shared by {owners.number} requests ({named}{more})"


def _drawn(x: float, y: float, code: int, hue: str, share: float) -> str:
    """Return one block: ``share`` of it holds tokens; one with owners and no ``hue`` is shared."""
    if code == FREE:
        return _square(x, y, "none", _LINE)
    if code == CACHED:
        dots = "".join(
            f"<circle cx='{x + dx}' cy='{y + dy}' r='1.6' fill='{_GREY}'/>" for dx in (6, 14) for dy in (6, 14)
        )
        return _square(x, y, _FAINT, _LINE) + dots
    if not hue:
        stripe = f"<path d='M{x + 3} {y + 17}L{x + 17} {y + 3}' stroke='{_PAPER}' stroke-width='3'/>"
        return _square(x, y, _INK, _INK) + stripe
    height = round(_CELL * share, 1)
    filled = f"<rect x='{x}' y='{y + _CELL - height}' width='{_CELL}' height='{height}' rx='2' fill='{hue}'/>"
    return f"<rect x='{x}' y='{y}' width='{_CELL}' height='{_CELL}' rx='2' fill='{hue}' opacity='.25'/>{filled}"


def _mixed(x: float, y: float, hue: str, mix: np.ndarray) -> str:
    """Return several blocks as bands: owned, shared and cached ones from the bottom up."""
    parts, bottom = [_square(x, y, "none", _LINE)], y + _CELL
    for share, fill in zip((mix / 255).tolist(), (hue or HUES[0], _INK, _LINE), strict=True):
        height = round(_CELL * share, 1)
        bottom -= height
        if height:
            parts.append(f"<rect x='{x}' y='{bottom:.1f}' width='{_CELL}' height='{height}' fill='{fill}'/>")
    return "".join(parts)


def _square(x: float, y: float, fill: str, stroke: str) -> str:
    return (
        f"<rect x='{x + 0.5}' y='{y + 0.5}' width='{_CELL - 1}' height='{_CELL - 1}' rx='2' "
        f"fill='{fill}' stroke='{stroke}'/>"
    )


def _laid_out(legend: list[tuple[str, str]], top: float, width: float) -> tuple[list[str], float]:
    """Set the legend's entries beside each other, in as many lines as they need; return them and their height."""
    parts, x, y = [], 0.0, 0.0
    for drawing, text in legend:
        needed = _CELL + 6 + len(text) * _LETTER + 16
        if x and x + needed > width:
            x, y = 0.0, y + _PITCH
        place = f"translate({_MARGIN + x:.0f} {top + y:.0f})"
        parts.append(f"<g transform='{place}'>{drawing}<text x='{_CELL + 6}' y='15' fill='{_INK}'>{text}</text></g>")
        x += needed
    return parts, y + _PITCH
