"""What a browser shows of a chat, kept up in Python by the messages that it gets; as strict as the page is lenient."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

Message = dict[str, Any]


class ChatMirror:
    """A view that came in with ``state``; ``messages`` are all that were sent since, in order."""

    def __init__(self, state: Message) -> None:
        self.adopt(state)
        self.messages: list[Message] = []
        self.notices: list[str] = []
        self.drafts: list[str] = []

    @property
    def num_bytes(self) -> int:
        return sum(len(json.dumps(message)) for message in self.messages)

    @property
    def texts(self) -> list[str]:
        return [turn.text for turn in self.turns]

    def adopt(self, state: Message) -> None:
        state = json.loads(json.dumps(state))
        self.seq: int = state.pop("seq")
        self.turns = [MirroredTurn.of(turn) for turn in state.pop("turns")]
        self.head = state

    def receive(self, message: Message) -> None:
        message = json.loads(json.dumps(message))
        self.messages.append(message)
        kind = message["type"]
        if kind == "state":
            assert message["state"]["seq"] == self.seq, "the whole is that of the last message"
            shown = [turn.html for turn in self.turns]
            self.adopt(message["state"])
            assert [turn.html for turn in self.turns] == shown
            return
        self.seq += 1
        assert message["seq"] == self.seq
        getattr(self, f"on_{kind}")(message)

    def on_turns(self, message: Message) -> None:
        self.turns[message["keep"] :] = [MirroredTurn.of(turn) for turn in message["turns"]]
        self.on_head(message)

    def on_patch(self, message: Message) -> None:
        turn = self.turns[-1]
        assert turn.meta["id"] == message["turn"] and turn.meta["state"] == "streaming"
        part = turn.parts[message["part"]]
        assert message["keep"] <= len(part.blocks)
        if message["blocks"] or message["keep"] < len(part.blocks):
            part.blocks[message["keep"] :], part.tail = message["blocks"], ""
        part.tail += message["tail"]
        turn.meta["figures"] = {**(turn.meta["figures"] or {}), **message["figures"]}

    def on_turn(self, message: Message) -> None:
        assert self.turns[-1].meta["id"] == message["turn"]["id"]
        self.turns[-1].meta = message["turn"]
        self.on_head(message)

    def on_head(self, message: Message) -> None:
        self.head |= {name: message[name] for name in ("is_busy", "can_undo", "options")}

    def on_notice(self, message: Message) -> None:
        self.notices.append(message["text"])

    def on_draft(self, message: Message) -> None:
        self.drafts.append(message["text"])


@dataclasses.dataclass
class MirroredPart:
    blocks: list[str]
    tail: str


@dataclasses.dataclass
class MirroredTurn:
    meta: Message
    parts: dict[str, MirroredPart]

    @classmethod
    def of(cls, turn: Message) -> MirroredTurn:
        parts = {name: MirroredPart(**turn.pop(name)) for name in ("thinking", "answer") if name in turn}
        return cls(turn, parts)

    @property
    def text(self) -> str:
        return self.meta["text"]

    @property
    def html(self) -> dict[str, str]:
        """The HTML of each part, with what was appended to its last block in its place."""
        place = '<span class="pnb-tail">'
        shown = {}
        for name, part in self.parts.items():
            whole = "\n".join(part.blocks)
            before, mark, after = whole.rpartition(place)
            shown[name] = f"{before}{mark}{part.tail}{after}" if mark else whole
            assert mark or not part.tail
        return shown
