"""Between a session and the chats that browsers show of it: what changed goes out, what was pressed comes in.

Model text leaves as sanitised HTML, made here; what is sent is in all as long as the answer, not as its square. All
messages are counted, so that a view which missed one (it was not there yet, the page was reloaded) asks for the whole.
``widgets/chat.py`` lists the messages.
"""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pagednb.chats.drawn_turn import GrowingDrawing, changed_figures, drawn_parts, drawn_turn
from pagednb.chats.model_card import model_card
from pagednb.chats.session import ChatSession, ChatState
from pagednb.chats.turn import Turn
from pagednb.errors import OptionError, PagednbError

Message = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class _Shown:
    """One turn of the branch, and the turns it can be exchanged for."""

    turn: Turn
    siblings: tuple[str, ...]


class ChatPresenter:
    """The model of the chat widget of one session: knows what its views show, and sends what they lack."""

    def __init__(self, session: ChatSession, *, name: str | None) -> None:
        self._session = session
        self._name = name
        self._lock = threading.RLock()  # of what follows: messages leave in the order of their numbers
        self._send: Callable[[Message], None] = _nowhere
        self._head = _head(session.state)
        self._shown: list[_Shown] = []
        self._growing: GrowingDrawing | None = None
        self._seq = 0
        self._num_bytes_since_whole = self._num_bytes_whole = 0
        session.observe(self.update)
        self.update()

    def connect(self, send: Callable[[Message], None]) -> None:
        """Give every message from now on to ``send``, on whichever thread it comes about."""
        self._send = send

    def state(self) -> dict[str, Any]:
        """Return all that a new view draws, as JSON: what the other views show by now."""
        with self._lock:
            model = model_card()
            return {**self._head, "seq": self._seq, "name": self._name, "model": model, "turns": self._drawn(0)}

    def handle(self, message: Mapping[str, Any]) -> None:
        """Do what somebody pressed; a refusal becomes a notice. Returns at once, on any thread."""
        try:
            self._do(message)
        except PagednbError as error:
            self._tell({"type": "notice", "text": str(error)})

    def update(self) -> None:
        """Send what has changed since the last time."""
        with self._lock:
            state, shown_before, head_before = self._session.state, self._shown, self._head
            self._head, self._shown = _head(state), _branch(state)
            num_kept = _num_equal(shown_before, self._shown)
            if num_kept == len(self._shown) - 1 == len(shown_before) - 1 and self._is_growing:
                self._send_growth(shown_before[-1].turn, self._shown[-1])
            elif num_kept < max(len(shown_before), len(self._shown)):
                self._begin_growth()
                self._tell({"type": "turns", "keep": num_kept, "turns": self._drawn(num_kept), **self._head})
            elif head_before != self._head:
                self._tell({"type": "head", "model": model_card(), **self._head})

    def _do(self, message: Mapping[str, Any]) -> None:
        session = self._session
        match dict(message):
            case {"type": "draw"}:
                self._send_whole()
            case {"type": "ask", "text": str(text)}:
                session.ask(text)
            case {"type": "stop"}:
                session.stop()
            case {"type": "regenerate", "turn": str(turn_id)}:
                session.regenerate(turn_id)
            case {"type": "edit", "turn": str(turn_id), "text": str(text)}:
                session.edit(turn_id, text)
            case {"type": "choose", "turn": str(turn_id)}:
                session.choose(turn_id)
            case {"type": "undo"}:
                if (taken_back := session.undo()) is not None:
                    self._tell({"type": "draft", "text": taken_back})
            case {"type": "clear"}:
                session.clear()
            case {"type": "options", "options": dict(changes)}:
                self._set_options(changes)
            case other:
                raise OptionError(f"The chat does not understand {other!r}.", hint="Reload the page.")

    def _set_options(self, changes: dict[str, Any]) -> None:
        try:
            self._session.set_options(changes)
        except PagednbError:
            self._tell({"type": "head", "model": model_card(), **self._head})  # the panel shows what holds
            raise

    @property
    def _is_growing(self) -> bool:
        return self._growing is not None and self._growing.turn_id == self._shown[-1].turn.turn_id

    def _begin_growth(self) -> None:
        turn = self._shown[-1].turn if self._shown else None
        self._growing = GrowingDrawing(turn.turn_id) if turn is not None and turn.is_streaming else None
        if self._growing is not None and turn is not None:
            list(self._growing.patches(turn))  # drawn as a part of the whole turn

    def _send_growth(self, before: Turn, shown: _Shown) -> None:
        """Send what has come of the answer; from time to time the whole on top, for views that came in late.

        The whole costs no more than all that was sent since the last one, so traffic at most doubles.
        """
        assert self._growing is not None
        turn = shown.turn
        figures = changed_figures(before.figures, turn.figures)
        for patch in self._growing.patches(turn):
            self._tell({"type": "patch", "turn": turn.turn_id, **patch, "figures": figures})
        if not turn.is_streaming:
            self._growing = None
            settled = drawn_turn(turn, shown.siblings)
            self._tell({"type": "turn", "turn": settled, "model": model_card(), **self._head})
        elif self._num_bytes_since_whole > self._num_bytes_whole:
            self._send_whole()

    def _send_whole(self) -> None:
        with self._lock:
            whole = self.state()
            self._num_bytes_since_whole, self._num_bytes_whole = 0, len(json.dumps(whole))
            self._send({"type": "state", "state": whole})

    def _tell(self, message: Message) -> None:
        with self._lock:
            self._seq += 1
            self._num_bytes_since_whole += len(json.dumps(message))
            self._send({**message, "seq": self._seq})

    def _drawn(self, start: int) -> list[dict[str, Any]]:
        drawn = []
        for turn, siblings in ((each.turn, each.siblings) for each in self._shown[start:]):
            is_growing = self._growing is not None and self._growing.turn_id == turn.turn_id
            parts = self._growing.parts() if self._growing and is_growing else drawn_parts(turn)
            drawn.append({**drawn_turn(turn, siblings), **parts})
        return drawn


def _nowhere(message: Message) -> None:
    """There is no view yet."""


def _head(state: ChatState) -> dict[str, Any]:
    options = state.options
    shown = {"system": options.system, "thinking": options.thinking, **options.sampling}
    return {"is_busy": state.is_answering, "can_undo": state.can_undo, "options": shown}


def _branch(state: ChatState) -> list[_Shown]:
    tree = state.tree
    return [_Shown(turn, tree.siblings(turn.turn_id)) for turn in tree.branch]


def _num_equal(before: Sequence[_Shown], now: Sequence[_Shown]) -> int:
    """Count the turns at the beginning that are the same in both."""
    pairs = zip(before, now, strict=False)
    return next((i for i, (one, other) in enumerate(pairs) if one != other), min(len(before), len(now)))
