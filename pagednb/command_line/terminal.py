"""What commands say beside their results, and text of a model made harmless for a terminal."""

from __future__ import annotations

import re
import sys

# a model's text may hold control sequences, which move the cursor, rename the window or answer in the user's name
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def note(line: str) -> None:
    """Tell the user something on stderr: stdout holds results alone."""
    print(line, file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Return the text without control characters but tabs and line ends."""
    return _CONTROL.sub("", text)


def one_line(text: str, width: int) -> str:
    """Return the beginning of a text as one line of at most ``width`` characters."""
    line = " ".join(printable(text).split())
    return line if len(line) <= width else f"{line[: width - 1]}…"
