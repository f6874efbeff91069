"""Text as a browser may get it: characters that break documents, or that hide code from a reader, made visible."""

from __future__ import annotations

import re

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# no XML document can hold C0 controls, no UTF-8 message a lone surrogate
_UNSENDABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_LINE_END = re.compile("\r\n?")
# embeddings, overrides and isolates: in code they show another order than the one that runs
_REORDERING = re.compile("[\u202a-\u202e\u2066-\u2069]")


def safe_text(text: str) -> str:
    """Return ``text`` with "\\n" line ends, and each character that cannot be sent or saved as U+FFFD.

    Works character by character but for "\\r\\n", so that a stream cleaned in pieces is the whole text cleaned.
    """
    return _UNSENDABLE.sub(_REPLACEMENT, _LINE_END.sub("\n", text))


def safe_code(code: str) -> str:
    """Return ``code`` with the characters that reorder text written as names, like ``⟨U+202E⟩``."""
    return _REORDERING.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", code)
