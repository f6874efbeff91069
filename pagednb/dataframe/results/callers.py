"""Where warnings point: the line that called pagednb, however deep inside they come up."""

from __future__ import annotations

import sys
from types import FrameType

_OURS = ("pagednb", "contextlib")
"""Between a verb and what it opens stand frames of contextlib."""


def callers_level() -> int:
    """Return the ``stacklevel`` of the line that called pagednb, seen from our caller."""
    level = 1
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _OURS:
        frame, level = frame.f_back, level + 1
    return level
