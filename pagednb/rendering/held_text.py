"""The end of a growing text that may still turn into something else, and is held back until that is known."""

from __future__ import annotations

import re

# a line of marks only: is it going to be a rule, a heading, a list item, the end of the code?
_UNDECIDED_LINE = re.compile(r"[ \t>]{0,32}(?:[-=*_+#|:`~$\\ \t]{0,200}|\d{1,9}[.)]?[ \t]{0,8})\Z")
_BLANK_END = re.compile(r"[ \t]{1,64}\r?\Z|\r\Z")  # HTML drops blanks at the end, and "\r" may become "\r\n"


def split_held(text: str, *, is_line_start: bool) -> tuple[str, str]:
    """Return ``text`` as what may be shown and what to hold; ``is_line_start``: it begins a line."""
    line = text.rfind("\n") + 1
    if (line > 0 or is_line_start) and _UNDECIDED_LINE.match(text, line):
        return text[:line], text[line:]
    blank = _BLANK_END.search(text, max(line, len(text) - 65))
    return (text[: blank.start()], text[blank.start() :]) if blank else (text, "")
