"""Chats on disk: what is written is read back with all branches, and what is no chat is refused with its line."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pagednb.chats.chat_file import read_chat, write_chat
from pagednb.chats.chat_options import ChatOptions
from pagednb.chats.conversation_tree import OPENING, ConversationTree
from pagednb.chats.turn import AnswerFigures, Turn
from pagednb.errors import ChatFileError

FIGURES = AnswerFigures(model="m", max_context_tokens=100, num_prompt_tokens=7, first_token_s=0.25, duration_s=1.5)
turns = st.builds(
    Turn,
    turn_id=st.just(""),
    role=st.sampled_from(["user", "assistant"]),
    text=st.text(),
    thinking=st.text(max_size=5),
    state=st.sampled_from(["done", "stopped", "cut", "failed"]),
    error=st.none() | st.text(min_size=1),
    figures=st.none() | st.just(FIGURES),
    is_edited=st.booleans(),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(turns, st.integers(0, 99), st.booleans()), max_size=12), st.text())
def test_what_is_written_is_read_back(tmp_path: pathlib.Path, grown: list[tuple[Turn, int, bool]], system: str) -> None:
    tree = ConversationTree()
    for number, (turn, pick, goes_back) in enumerate(grown):
        known = [OPENING, *tree.turns]
        named = Turn(**{**{name: getattr(turn, name) for name in turn.__dataclass_fields__}, "turn_id": f"t{number}"})
        tree = tree.added(named, after=known[pick % len(known)])
        if goes_back:
            tree = tree.chosen(list(tree.turns)[pick % len(tree.turns)])
    options = ChatOptions(system=system, thinking=True, sampling={"temperature": 0.5, "stop": ["x"]})
    path = tmp_path / "chat.jsonl"
    write_chat(path, tree, options)
    assert read_chat(path) == (tree, options)
    assert list(tmp_path.iterdir()) == [path]
    assert len(path.read_bytes().splitlines()) == 1 + len(tree.turns)


HEADER: dict[str, Any] = {"format": "pagednb chat", "version": 1, "system": "", "thinking": None, "sampling": {}}
TURN: dict[str, Any] = {"turn_id": "t1", "role": "user", "text": "a", "after": "", "is_chosen": True}


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], "line 1"),
        (["{"], "line 1"),
        ([[]], "no chat"),
        ([{**HEADER, "version": 2}], "version 2"),
        ([{**HEADER, "sampling": {"temprature": 1}}], "temperature"),
        ([HEADER, {**TURN, "role": "system"}], "line 2: it is no turn"),
        ([HEADER, {**TURN, "text": None}], "no turn"),
        ([HEADER, {**TURN, "state": "streaming"}], "no turn"),
        ([HEADER, {**TURN, "colour": "red"}], "colour"),
        ([HEADER, {**TURN, "after": "t9"}], "follows no turn"),
        ([HEADER, TURN, TURN], "line 3"),
        ([HEADER, {**TURN, "figures": {"model": "m", "max_context_tokens": "many"}}], "figures"),
        ([HEADER, 3], "line 2"),
        ([HEADER, TURN, "", TURN], "line 3"),
    ],
)
def test_what_is_no_chat_is_refused(tmp_path: pathlib.Path, lines: list[Any], reason: str) -> None:
    path = tmp_path / "chat.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    with pytest.raises(ChatFileError, match=reason):
        read_chat(path)


def test_files_that_cannot_be_used_are_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ChatFileError, match="missing"):
        read_chat(tmp_path / "missing.jsonl")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ChatFileError, match="binary"):
        read_chat(tmp_path / "binary")
    (tmp_path / "file").write_text("")
    with pytest.raises(ChatFileError, match="cannot be written"):
        write_chat(tmp_path / "file" / "chat.jsonl", ConversationTree(), ChatOptions())
    assert (tmp_path / "file").read_text() == ""
