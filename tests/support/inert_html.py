"""Looks through HTML for anything that could act, with Python's own parser and lists of its own."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_HTML = set(
    """
    a blockquote br code div em h1 h2 h3 h4 h5 h6 hr li ol p pre s span strong table tbody td th thead tr ul
    """.split()  # noqa: SIM905  (a table)
)
_MATHML = set(
    """
    math menclose merror mfrac mi mmultiscripts mn mo mover mpadded mphantom mprescripts mroot mrow ms mspace msqrt
    mstyle msub msubsup msup mtable mtd mtext mtr munder munderover none
    """.split()  # noqa: SIM905  (a table)
)
_VOID = {"br", "hr"}
_ATTRIBUTES = {
    "a": {"href", "rel", "target", "class"},
    "code": {"class"},
    "div": {"class"},
    "li": {"class"},
    "ol": {"start"},
    "pre": {"class", "data-language"},
    "span": {"class", "role", "aria-label"},
    "td": {"class"},
    "th": {"class"},
}
_MATH_VALUE = re.compile(r"[a-z0-9. +-]{1,400}|http://www\.w3\.org/1998/Math/MathML")
_BIG_LENGTH = re.compile(r"(?<![.\d])\d{3,}|-[1-9]")


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.faults: list[str] = []
        self.open: list[str] = []
        self.num_roots = 0
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.num_roots += not self.open
        if tag not in _HTML | _MATHML:
            self.faults.append(f"element {tag}")
        for name, value in attrs:
            self._look_at(tag, name, value or "")
        if tag == "a" and "a" in self.open:
            self.faults.append("a link in a link")
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"unbalanced {tag}")

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if not self.open and data.strip():
            self.faults.append(f"text outside of blocks: {data!r}")

    def handle_comment(self, data: str) -> None:
        self.faults.append(f"comment {data!r}")

    handle_decl = handle_pi = unknown_decl = handle_comment

    def _look_at(self, tag: str, name: str, value: str) -> None:
        if tag in _MATHML:
            fine = not name.startswith("on") and name not in {"href", "style", "class", "id"}
            fine = fine and bool(_MATH_VALUE.fullmatch(value)) and (name == "xmlns" or not _BIG_LENGTH.search(value))
        else:
            fine = name in _ATTRIBUTES.get(tag, set())
        if name == "href":
            fine = fine and value.lower().startswith(("http://", "https://", "mailto:"))
        if name == "class":
            fine = fine and all(word.startswith("pnb-") for word in value.split())
        if name in ("rel", "target"):
            fine = fine and value in ("noopener noreferrer", "_blank")
        if not fine:
            self.faults.append(f"{tag} {name}={value!r}")


def faults_in(html: str) -> list[str]:
    """Return what in ``html`` could act, or is off the lists; empty for inert HTML."""
    reader = _read(html)
    return [*reader.faults, *(f"unclosed {tag}" for tag in reader.open)]


def num_roots(html: str) -> int:
    """Return how many elements stand at the top of ``html``."""
    return _read(html).num_roots


def text_of(html: str) -> str:
    """Return the text that a reader sees."""
    return "".join(_read(html).text)


def _read(html: str) -> _Reader:
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader
