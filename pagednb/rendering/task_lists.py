"""``- [ ]`` and ``- [x]`` at the beginning of list items, as marks that nobody can press."""

from __future__ import annotations

from markdown_it.rules_core import StateCore
from markdown_it.token import Token

_MARKS = {"[ ] ": "task_open", "[x] ": "task_done", "[X] ": "task_done"}


def mark_tasks(state: StateCore) -> None:
    """Core rule: replace the brackets by a ``task_open`` or ``task_done`` token and class the item ``pnb-task``."""
    for item, paragraph, inline in zip(state.tokens, state.tokens[1:], state.tokens[2:], strict=False):
        if (item.type, paragraph.type, inline.type) != ("list_item_open", "paragraph_open", "inline"):
            continue
        first = inline.children[0] if inline.children else None
        if first is None or first.type != "text" or (kind := _MARKS.get(first.content[:4])) is None:
            continue
        item.attrJoin("class", "pnb-task")
        first.content = first.content[4:]
        inline.children = [Token(kind, "", 0), *(inline.children or ())]
