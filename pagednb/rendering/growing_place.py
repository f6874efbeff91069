"""Where text is appended to a block of HTML that still grows: an empty ``<span class="pnb-tail">``."""

from __future__ import annotations

import re

TAIL = '<span class="pnb-tail"></span>'
_END = re.compile(r"(?:\s*</(?:p|li|ul|ol|blockquote|h[1-6]|td|th|tr|thead|tbody|table|div|pre)>)*\Z")
_CODE_END = re.compile(r"</code></pre>(?:\s*</(?:li|ul|ol|blockquote)>)*\Z")


def with_tail(html: str) -> str:
    """Return a block with the place marked: before the closing tags of its blocks, inside of code."""
    if html == "<hr>":
        return f"<div>{html}{TAIL}</div>"
    match = _CODE_END.search(html, html.rfind("</code></pre>")) if "</code></pre>" in html else None
    at = match.start() if match else _END.search(html, _end_start(html)).start()  # type: ignore[union-attr]  # matches ""
    return html[:at] + TAIL + html[at:]


def _end_start(html: str) -> int:
    """Return where the run of closing tags at the end may begin; looking from there keeps the search linear."""
    return max(0, html.rfind(">", 0, max(0, len(html) - 2_000)))
