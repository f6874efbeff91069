"""The Tab key behind ``%llm``, ``%generate`` and ``%%generate``: commands, flags, models, variables, conversations.

``extension`` hangs ``Completer`` into IPython's matchers and takes it out again. It runs on the kernel's main thread
and asks the engine nothing, so a busy engine does not slow it down.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple, is_typeddict

from IPython.core.completer import SimpleCompletion, context_matcher

from pagednb.models.local_models import model_names
from pagednb.notebook.generate_flags import FLAGS, Completes
from pagednb.notebook.llm_commands import SLEEP_LEVELS
from pagednb.notebook.load_flags import load_flags, values_of

_PRIORITY = 100.0
"""Ahead of IPython's own matchers, the slowest of which are then never asked."""

_OWN_VARIABLES = {"In", "Out", "exit", "quit", "open", "get_ipython"}
"""Variables that IPython itself puts into a notebook."""

_MAGIC = re.compile(r"(?:^|=)\s*(?P<magic>%llm|%{1,2}generate)\s(?P<rest>.*)")


class _Line(NamedTuple):
    """The words behind a magic's name, and the one that is being typed: after ``--flag=`` only the value."""

    before: list[str]
    typed: str

    @classmethod
    def of(cls, rest: str) -> _Line:
        words = rest.split()
        typed = words.pop() if rest and not rest[-1].isspace() else ""
        flag, is_assigned, value = typed.partition("=")
        if flag.startswith("--") and is_assigned:
            return cls([*words, flag], value)
        return cls(words, typed)


class Completer:
    """Completes the lines of one shell.

    ``commands`` are those of ``%llm``; ``chats`` names the conversations, whichever there are at the time.
    """

    def __init__(self, shell: Any, commands: Iterable[str], chats: Collection[str]) -> None:
        self._shell = shell
        self._commands = list(commands)
        self._chats = chats
        self._matcher = context_matcher(priority=_PRIORITY, identifier="pagednb")(
            lambda context: self._match(context.text_until_cursor)
        )

    def hang_in(self) -> None:
        """Let the shell ask from now on."""
        self._shell.Completer.custom_matchers.append(self._matcher)

    def take_out(self) -> None:
        """Undo ``hang_in``; the matchers of others stay."""
        self._shell.Completer.custom_matchers.remove(self._matcher)

    def _match(self, text: str) -> dict[str, Any]:
        """Return IPython's ``MatcherResult`` for the line up to the cursor: behind a magic, ours and nothing else."""
        found = _MAGIC.search(text)
        if found is None:
            return {"completions": [], "suppress": False}
        line = _Line.of(found["rest"])
        offered = self._llm(line) if found["magic"] == "%llm" else self._generate(line)
        fitting = [SimpleCompletion(word) for word in offered if word.startswith(line.typed)]
        return {"completions": fitting, "matched_fragment": line.typed, "ordered": True, "suppress": bool(fitting)}

    def _generate(self, line: _Line) -> list[str]:
        """Return the values of the flag before the cursor; if it has none, the flags."""
        flag = FLAGS.get(line.before[-1]) if line.before else None
        if flag is not None and flag.completes is not None:
            return list(flag.values) or self._values(flag.completes)
        is_value = flag is not None and flag.takes_value
        return [] if is_value or not line.typed.startswith("-") else [name for name in FLAGS if len(name) > 2]

    def _llm(self, line: _Line) -> list[str]:
        if not line.before:
            return self._commands
        if line.before[0] in ("history", "reset"):
            return self._values("chats")
        if line.before == ["sleep"]:
            return list(SLEEP_LEVELS)
        if line.before[0] != "load":
            return []
        if values := values_of(line.before[-1]):
            return values
        return load_flags() if line.typed.startswith("-") else model_names()

    def _values(self, kind: Completes) -> list[str]:
        if kind == "chats":
            return [f'"{name}"' if len(name.split()) > 1 else name for name in sorted(self._chats)]
        variables: Mapping[str, Any] = self._shell.user_ns
        own = {
            name: value for name, value in variables.items() if not name.startswith("_") and name not in _OWN_VARIABLES
        }
        if kind == "schemas":
            return sorted(name for name, value in own.items() if is_schema(value))
        if kind == "texts":
            return sorted(name for name, value in own.items() if isinstance(value, str))
        return sorted(own)


def is_schema(value: object) -> bool:
    """Whether a variable looks like what ``--schema`` takes: a dict, or a class with declared fields."""
    if not isinstance(value, type):
        return isinstance(value, dict)
    return dataclasses.is_dataclass(value) or is_typeddict(value) or hasattr(value, "model_json_schema")
