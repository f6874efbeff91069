"""Text that can be shown, sent and kept: no half of a surrogate pair, which JSON can write and files of frames hold."""

from __future__ import annotations

from pagednb.checks import is_unicode


def whole_text(text: str) -> str:
    """Return the text with U+FFFD for each lone surrogate; almost always the text itself."""
    return text if is_unicode(text) else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
