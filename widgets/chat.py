"""The chat of ``pagednb.chat()`` in a browser: a frame around ``static/chat``, which draws all of it.

Knows no engine: it shows a ``ChatModel`` and hands it what was pressed. What a new view draws is made at the moment
somebody asks for it, so a page that was reloaded, an answer on its way included, shows what is. Everything else goes
by custom messages; all but ``state`` have ``seq``, one more than that of the message before.

To the browser
    state    state: all of what ChatModel.state returns, with the ``seq`` to go on from
    turns    keep: so many leading turns stay; turns: those that follow; and a head
    patch    turn, part ("thinking" or "answer"), keep: so many leading blocks stay; blocks: HTML of those that follow;
             tail: plain text to append to the last block; figures: those that are others now
    turn     turn: the answer with this id is over, all of it but its HTML; model, and a head
    head     model, and a head: is_busy, can_undo, options
    notice   text: a sentence for the person who pressed something
    draft    text: back into the composer

From the browser
    draw     (a view has missed something)      stop, undo, clear
    ask      text                               edit        turn, text
    regenerate, choose  turn                    options     options: those that changed, null takes one out
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any, Protocol

import anywidget
import traitlets

from pagednb.widgets.heard import heard_where_sent
from pagednb.widgets.module import joined_module

_STATIC = pathlib.Path(__file__).parent / "static" / "chat"


class ChatModel(Protocol):
    """What the widget needs of a chat."""

    def state(self) -> dict[str, Any]:
        """Return all that a new view draws, as JSON."""

    def handle(self, message: Mapping[str, Any]) -> None:
        """Do what somebody pressed; returns at once, on whichever thread the kernel runs this."""


class ChatWidget(anywidget.AnyWidget):
    """The views of one chat; they all show the same."""

    _esm = joined_module(_STATIC)
    _css = _STATIC / "chat.css"

    stylesheet = traitlets.Unicode().tag(sync=True)
    state = traitlets.Dict().tag(sync=True, to_json=lambda _, widget: widget.chat_model.state())

    def __init__(self, chat_model: ChatModel, *, stylesheet: str) -> None:
        """``stylesheet``: the rules of the HTML that the model's turns hold."""
        self.chat_model = chat_model
        super().__init__(stylesheet=stylesheet)
        heard_where_sent(self)
        self.on_msg(lambda _, message, buffers: chat_model.handle(message))
