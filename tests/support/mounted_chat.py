"""The chat's ES module on a page of its own, with turns and messages as they come from the kernel."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Locator
from support.mounted_widget import MountedWidget

from pagednb.chats.drawn_turn import drawn_parts, drawn_turn
from pagednb.chats.turn import AnswerFigures, Turn

MODEL = {
    "name": "some/model",
    "max_context_tokens": 32768,
    "can_switch_thinking": True,
    "defaults": {"temperature": 0.7, "max_tokens": None},
}
FIGURES = AnswerFigures(
    model="some/model",
    max_context_tokens=32768,
    num_prompt_tokens=1312,
    num_cached_tokens=1280,
    num_new_tokens=185,
    num_thinking_tokens=120,
    thinking_s=3.2,
    first_token_s=0.21,
    duration_s=4.21,
)
HEAD: dict[str, Any] = {"is_busy": False, "can_undo": True, "options": {"system": "", "thinking": None}}
ANSWER = "Some **bold** words.\n\n```python\nx = 1\n```"


def turn(turn_id: str, text: str, siblings: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    """A turn as the kernel draws it: a question if its id begins with q, else an answer with ``FIGURES``."""
    role: Any = "user" if turn_id.startswith("q") else "assistant"
    made = Turn(turn_id=turn_id, role=role, text=text, figures=None if role == "user" else FIGURES, **fields)
    return {**drawn_turn(made, siblings or (turn_id,)), **drawn_parts(made)}


def growing(turn_id: str) -> dict[str, Any]:
    """An answer of which nothing is there yet."""
    return {**turn(turn_id, "", state="streaming"), "figures": None}


@dataclasses.dataclass
class MountedChat:
    """The module with what the kernel would say."""

    widget: MountedWidget
    seq: int = 0

    @property
    def view(self) -> Locator:
        return self.widget.view

    def tell(self, kind: str, **fields: Any) -> None:
        self.seq += 1
        self.widget.push({"type": kind, "seq": self.seq, **fields})

    def begin(self, *turns: dict[str, Any], keep: int = 0) -> None:
        self.tell("turns", keep=keep, turns=list(turns), **{**HEAD, "is_busy": True})

    def patch(self, turn_id: str, *blocks: str, keep: int = 0, tail: str = "", part: str = "answer") -> None:
        figures = {"num_prompt_tokens": 10, "num_new_tokens": 5, "num_cached_tokens": 0, "max_context_tokens": 100}
        self.tell("patch", turn=turn_id, part=part, keep=keep, blocks=list(blocks), tail=tail, figures=figures)

    def settle(self, drawn: dict[str, Any]) -> None:
        meta = {name: value for name, value in drawn.items() if name not in ("thinking", "answer")}
        self.tell("turn", turn=meta, model=MODEL, **HEAD)

    def turn(self, turn_id: str) -> Locator:
        return self.view.locator(f'[data-turn="{turn_id}"]')

    def action(self, name: str) -> Locator:
        return self.view.locator(f'[data-action="{name}"]')

    @property
    def composer(self) -> Locator:
        return self.view.locator('[data-role="composer"]')

    @property
    def pressed(self) -> list[dict[str, Any]]:
        """What was sent to the kernel, the requests of views that just opened aside."""
        return [message for message in self.widget.sent if message != {"type": "draw"}]


Chat = Callable[..., MountedChat]
