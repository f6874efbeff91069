"""Cuts the values in a row's prompt until it fits: ``truncate="left" | "right" | "middle"``.

Only what comes from the row is cut, never the template around it: a template that is too long by itself is an error of
every row. Values share one limit, so the longest are cut first and short ones stay whole. A cut shows as "…".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

from pagednb.config import CacheGeometry
from pagednb.errors import OptionError

TruncateOption = Literal["error", "left", "right", "middle"]
CUT_MARK = "…"
Piece = tuple[str, bool]
"""A part of a rendered prompt, and whether it is a row's value."""


def check_truncate(truncate: object) -> None:
    """Raise OptionError for anything but a TruncateOption."""
    if truncate not in get_args(TruncateOption):
        raise OptionError(
            f"truncate={truncate!r} is not valid.",
            hint="Use 'error', or the side to cut: 'left' (the beginning goes), 'right' (the end goes) or 'middle'.",
        )


def shortened(pieces: Sequence[Piece], fits: Callable[[str], bool], side: TruncateOption) -> str | None:
    """Return the longest prompt that ``fits`` when values are cut; None if it fits not even without them."""

    def with_limit(num_chars: int) -> str:
        return "".join(cut(text, num_chars, side) if is_value else text for text, is_value in pieces)

    if not fits(with_limit(0)):
        return None
    longest = max((len(text) for text, is_value in pieces if is_value), default=0)
    # from below, so that a value of a million characters is never encoded as a whole
    fitting, too_many = 0, 64
    while too_many < longest and fits(with_limit(too_many)):
        fitting, too_many = too_many, 2 * too_many
    too_many = min(too_many, longest + 1)
    while too_many - fitting > 1:
        middle = (fitting + too_many) // 2
        fitting, too_many = (middle, too_many) if fits(with_limit(middle)) else (fitting, middle)
    return with_limit(fitting)


def cut(text: str, num_chars: int, side: TruncateOption) -> str:
    """Return ``text`` if it has at most ``num_chars`` characters, else so many of them and the mark of a cut."""
    if len(text) <= num_chars:
        return text
    if side == "left":
        return CUT_MARK + text[len(text) - num_chars :]
    if side == "right":
        return text[:num_chars] + CUT_MARK
    head = (num_chars + 1) // 2
    return text[:head] + CUT_MARK + text[len(text) - (num_chars - head) :]


def prompt_limit(geometry: CacheGeometry, max_tokens: int) -> int:
    """Return how many tokens a prompt may have: room for the answer is left, but at most half of the context."""
    context = min(geometry.max_model_len, geometry.num_usable_tokens)
    return max(1, context - max(1, min(max_tokens, context // 2)))
