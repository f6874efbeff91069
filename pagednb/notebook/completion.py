"""The Tab key behind ``%llm``, ``%generate`` and ``%%generate``: sub-commands, flags, models, variables, conversations.

``extension`` hangs ``Completer`` into IPython's chain of completers and takes it out again. It runs on the kernel's
main thread and asks the engine nothing, so a busy engine does not slow it down.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, is_typeddict

from pagednb.notebook.generate_flags import FLAGS, Completes
from pagednb.notebook.load_flags import load_flags, values_of
from pagednb.notebook.model_list import model_names

HOOK = "complete_command"
"""IPython's name for the chain that is asked by a line's first word."""

_OWN_VARIABLES = {"In", "Out", "exit", "quit", "open", "get_ipython"}
"""Variables that IPython itself puts into a notebook."""


class Completer:
    """Completes the lines of one shell.

    ``commands`` are those of ``%llm``; ``chats`` names the conversations, whichever there are at the time.
    """

    def __init__(self, shell: Any, commands: Iterable[str], chats: Collection[str]) -> None:
        self._shell = shell
        self._commands = list(commands)
        self._chats = chats
        self._hooks: dict[str, Callable[[Any, Any], list[str]]] = {
            "%llm": lambda shell, event: self._complete_llm(event),
            "%generate": lambda shell, event: self._complete_generate(event),
            "%%generate": lambda shell, event: self._complete_generate(event),
        }

    def hang_in(self) -> None:
        """Let the shell ask from now on."""
        for word, hook in self._hooks.items():
            self._shell.set_hook(HOOK, hook, str_key=word)

    def take_out(self) -> None:
        """Undo ``hang_in``; completers that others gave for the same words stay."""
        chains = self._shell.strdispatchers[HOOK].strs
        for word, hook in self._hooks.items():
            chain = chains[word].chain
            # the shell has made methods of itself out of them
            chain[:] = [(priority, other) for priority, other in chain if getattr(other, "__func__", None) is not hook]
            if not chain:
                del chains[word]

    def _complete_generate(self, event: Any) -> list[str]:
        """Return the values of the flag before the cursor; if it has none, the flags."""
        flag = FLAGS.get(_word_before(event))
        if flag is not None and flag.completes is not None:
            return list(flag.values) or self._values(flag.completes)
        is_value = flag is not None and flag.takes_value
        return [] if is_value or not event.symbol.startswith("-") else [name for name in FLAGS if len(name) > 2]

    def _complete_llm(self, event: Any) -> list[str]:
        words = _words_before(event)
        if len(words) <= 1:
            return self._commands
        if words[1] in ("history", "reset"):
            return sorted(self._chats)
        if words[1] != "load":
            return []
        if values := values_of(_word_before(event)):
            return values
        return load_flags() if event.symbol.startswith("-") else model_names()

    def _values(self, kind: Completes) -> list[str]:
        if kind == "chats":
            return sorted(self._chats)
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


def _words_before(event: Any) -> list[str]:
    """Return the whole words before the one that is being typed."""
    text: str = event.text_until_cursor
    return text[: len(text) - len(event.symbol)].split()


def _word_before(event: Any) -> str:
    """Return the last whole word, or the flag whose value is typed behind ``=``."""
    return _words_before(event)[-1].removesuffix("=")
