"""Which addresses a link may have; pictures and bare addresses as links.

A picture would be fetched as soon as the text is drawn. Its address is the model's, and may carry the conversation to
whoever planted it in a prompt. So pictures are links, followed only by a click; ``data:`` pictures are no better than
noise and are not drawn either.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from markdown_it.rules_core import StateCore
from markdown_it.token import Token

LINK_SCHEMES = frozenset({"http", "https", "mailto"})
_SAFE_LINK = re.compile(r"(?:https?://[^\s/?#\\]|mailto:[^\s/])", re.IGNORECASE)
_BARE_ADDRESS = re.compile(r"\bhttps?://[^\s<>\"'`\\|]{1,2000}", re.IGNORECASE)
_MAX_ADDRESS = 4_000
_OPENING = {")": "(", "]": "[", "}": "{"}

_Drawn = Callable[[Token, bool], Iterator[Token]]  # of a token, and whether it stands in a link


def is_safe_link(url: str) -> bool:
    """Whether ``url`` is absolute and of a scheme that runs nothing; what is not stays visible as its source."""
    return len(url) <= _MAX_ADDRESS and _SAFE_LINK.match(url) is not None


def pictures_to_links(state: StateCore) -> None:
    """Core rule: turn each picture into a link to it, or into its text where it stands in a link already."""
    _replace(state, _without_picture)


def link_bare_addresses(state: StateCore) -> None:
    """Core rule: turn ``https://...`` in a text into a link."""
    _replace(state, _with_links)


def _replace(state: StateCore, drawn: _Drawn) -> None:
    for token in state.tokens:
        if token.children:
            token.children = list(_replaced(token.children, drawn))


def _replaced(tokens: Sequence[Token], drawn: _Drawn) -> Iterator[Token]:
    depth = 0
    for token in tokens:
        depth += {"link_open": 1, "link_close": -1}.get(token.type, 0)
        yield from drawn(token, depth > 0)


def _without_picture(token: Token, is_in_link: bool) -> Iterator[Token]:
    if token.type != "image":
        yield token
        return
    url = str(token.attrs.get("src", ""))
    text = token.content or url
    yield from [_text(text)] if is_in_link else _link(url, text, kind="pnb-picture")


def _with_links(token: Token, is_in_link: bool) -> Iterator[Token]:
    if token.type != "text" or is_in_link or "://" not in token.content:
        yield token
        return
    end = 0
    for match in _BARE_ADDRESS.finditer(token.content):
        address = _without_punctuation(match[0])
        if is_safe_link(address):
            yield _text(token.content[end : match.start()])
            yield from _link(address, address)
            end = match.start() + len(address)
    yield _text(token.content[end:])


def _without_punctuation(address: str) -> str:
    """Return an address without what ends the sentence around it; a bracket stays if it was opened within."""
    address = address.rstrip(".,;:!?*_~")
    while address.endswith((")", "]", "}")) and address.count(address[-1]) > address.count(_OPENING[address[-1]]):
        address = address[:-1].rstrip(".,;:!?*_~")
    return address


def _link(url: str, text: str, *, kind: str = "") -> list[Token]:
    attrs: dict[str, str | int | float] = {"href": url, "class": kind} if kind else {"href": url}
    return [Token("link_open", "a", 1, attrs=attrs), _text(text), Token("link_close", "a", -1)]


def _text(content: str) -> Token:
    return Token("text", "", 0, content=content)
