"""A chat on disk: JSON Lines, a header and a line for each turn in order of time, with all branches.

Written to a file of its own that takes the place of the old one, so that no end of a kernel leaves half a chat.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any, get_args

from pagednb.chats.chat_options import ChatOptions
from pagednb.chats.conversation_tree import OPENING, ConversationTree
from pagednb.chats.turn import AnswerFigures, Role, Turn, TurnState
from pagednb.checks import is_finite
from pagednb.errors import ChatFileError, PagednbError

_FORMAT = "pagednb chat"
_VERSION = 1
_STATES = set(get_args(TurnState)) - {"streaming"}


def write_chat(path: pathlib.Path, tree: ConversationTree, options: ChatOptions) -> None:
    """Write a conversation; an answer that is on its way is written as stopped.

    Raises:
        ChatFileError: the file cannot be written, or an option is no JSON.
    """
    header = {
        "format": _FORMAT,
        "version": _VERSION,
        "system": options.system,
        "thinking": options.thinking,
        "sampling": dict(options.sampling),
    }
    try:
        lines = [json.dumps(line, ensure_ascii=False) for line in (header, *(_line(tree, i) for i in tree.turns))]
        _replace(path, "".join(f"{line}\n" for line in lines))
    except TypeError as error:
        raise ChatFileError(f"The chat's options cannot be written: {error}.", hint="Give schemas as dicts.") from error
    except OSError as error:
        raise ChatFileError(f"The chat cannot be written to {str(path)!r}: {error}.") from error


def read_chat(path: pathlib.Path) -> tuple[ConversationTree, ChatOptions]:
    """Return the conversation of a file.

    Raises:
        ChatFileError: the file cannot be read, or is no whole chat; says which line.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ChatFileError(f"{str(path)!r} cannot be read: {error}.") from error
    if lines == [""]:
        raise _broken(path, 1, "it is empty")
    tree, options = ConversationTree(), ChatOptions()
    for number, line in enumerate(lines, start=1):
        if not line and number == len(lines):
            break
        try:
            fields = json.loads(line)
            if number == 1:
                options = _options(fields)
            else:
                tree = _with_turn(tree, fields)
        except (ValueError, TypeError, KeyError, AttributeError, PagednbError) as error:
            raise _broken(path, number, error) from error
    return tree, options


def _line(tree: ConversationTree, turn_id: str) -> dict[str, Any]:
    turn = tree.turns[turn_id]
    fields = {name: value for name, value in dataclasses.asdict(turn).items() if value not in (None, "", False)}
    if turn.is_streaming:
        fields["state"] = "stopped"
    return {**fields, "text": turn.text, "after": tree.followed(turn_id), "is_chosen": tree.is_chosen(turn_id)}


def _options(fields: Mapping[str, Any]) -> ChatOptions:
    if not isinstance(fields, dict) or fields.get("format") != _FORMAT:
        raise ValueError("it is no chat")
    if fields["version"] != _VERSION:
        raise ValueError(f"its version {fields['version']!r} is not known")
    return ChatOptions(system=fields["system"], thinking=fields["thinking"], sampling=fields["sampling"])


def _with_turn(tree: ConversationTree, fields: dict[str, Any]) -> ConversationTree:
    after, is_chosen, figures = fields.pop("after"), fields.pop("is_chosen"), fields.pop("figures", None)
    turn = Turn(**fields, figures=None if figures is None else _figures(figures))
    texts = (turn.turn_id, turn.text, turn.thinking, turn.error or "")
    if not all(isinstance(text, str) for text in texts) or turn.state not in _STATES or turn.role not in get_args(Role):
        raise ValueError("it is no turn")
    if not turn.turn_id or turn.turn_id in tree.turns or (after != OPENING and after not in tree.turns):
        raise ValueError("it follows no turn before it, or is there twice")
    return tree.added(turn, after=after, is_chosen=bool(is_chosen))


def _figures(fields: dict[str, Any]) -> AnswerFigures:
    figures = AnswerFigures(**fields)
    numbers = {**fields, "model": 0, "first_token_s": figures.first_token_s or 0}.values()
    if not isinstance(figures.model, str) or not all(is_finite(number) for number in numbers):
        raise ValueError("its figures are no numbers")
    return figures


def _broken(path: pathlib.Path, number: int, reason: object) -> ChatFileError:
    return ChatFileError(
        f"{str(path)!r} is not a chat that save() wrote: line {number}: {reason}.", hint="Name another file."
    )


def _replace(path: pathlib.Path, text: str) -> None:
    """Write a file beside ``path`` and move it there in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    part = pathlib.Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
