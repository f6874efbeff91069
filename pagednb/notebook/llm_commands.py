"""The sub-commands of ``%llm``, by name. Each takes the words behind it; what it returns is shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pagednb import runtime
from pagednb.errors import OptionError
from pagednb.notebook.conversation import Conversation
from pagednb.notebook.load_flags import load_options
from pagednb.notebook.model_list import list_models
from pagednb.notebook.settings import PagedNB
from pagednb.notebook.words import strip_quotes, unknown_word

SLEEP_LEVELS = ("1", "2")


class LlmCommands:
    """Acts on the one engine of the process, and on the conversations of one shell, which it shares with ``magics``."""

    def __init__(self, settings: PagedNB, conversations: dict[str, Conversation]) -> None:
        self._settings = settings
        self._conversations = conversations
        self._commands: Mapping[str, Callable[[list[str]], Any]] = {
            "load": self._load,
            "status": self._status,
            "list": self._list,
            "unload": self._unload,
            "cancel": self._cancel,
            "history": self._history,
            "reset": self._reset,
            "sleep": self._sleep,
            "wake": self._wake,
        }

    @property
    def names(self) -> list[str]:
        """Every sub-command."""
        return list(self._commands)

    def run(self, words: list[str]) -> Any:
        """Run the sub-command that ``words`` begin with.

        Raises:
            OptionError: there is none, or the words behind it are wrong.
            PagednbError: what the command meets.
        """
        if not words:
            raise OptionError(f"%llm needs one of {', '.join(self.names)}.")
        command, *rest = words
        if command not in self._commands:
            raise unknown_word("%llm command", command, self.names)
        return self._commands[command](rest)

    def _load(self, words: list[str]) -> None:
        options = load_options(words)
        if "model" not in options and self._settings.model is not None:
            options["model"] = self._settings.model
        runtime.load(**options)

    def _status(self, words: list[str]) -> object:
        _refuse_words("status", words)
        return runtime.status()

    def _list(self, words: list[str]) -> object:
        _refuse_words("list", words)
        return list_models()

    def _unload(self, words: list[str]) -> None:
        _refuse_words("unload", words)
        runtime.unload()

    def _cancel(self, words: list[str]) -> int:
        _refuse_words("cancel", words)
        return runtime.get_engine().cancel_all()

    def _history(self, words: list[str]) -> Conversation | ConversationList:
        if not words:
            return ConversationList(self._conversations)
        _refuse_words("history", words[1:])
        return self._conversations[self._known(words[0])]

    def _reset(self, words: list[str]) -> None:
        names = [self._known(word) for word in words] or list(self._conversations)
        for name in names:
            self._conversations.pop(name, None)

    def _sleep(self, words: list[str]) -> None:
        level, *rest = map(strip_quotes, words or ["1"])
        _refuse_words("sleep", rest)
        if level not in SLEEP_LEVELS:
            raise unknown_word("level", level, SLEEP_LEVELS)
        runtime.sleep(int(level))

    def _wake(self, words: list[str]) -> None:
        _refuse_words("wake", words)
        runtime.wake_up()

    def _known(self, word: str) -> str:
        name = strip_quotes(word)
        if name in self._conversations:
            return name
        if not self._conversations:
            raise OptionError(f"There is no conversation {name!r}.", hint=f"%%generate --chat {name} begins it.")
        raise unknown_word("conversation", name, self._conversations)


class ConversationList(dict[str, int]):
    """How many answers each conversation holds, by name; what ``%llm history`` returns."""

    def __init__(self, conversations: Mapping[str, Conversation]) -> None:
        super().__init__({name: conversation.num_answers for name, conversation in conversations.items()})

    def __repr__(self) -> str:
        lines = (f"{name}: {count} answer{'' if count == 1 else 's'}" for name, count in self.items())
        return "\n".join(lines) or "There is no conversation. %%generate --chat NAME begins one."


def _refuse_words(command: str, words: list[str]) -> None:
    if words:
        raise OptionError(f"%llm {command} takes nothing more, got {words[0]!r}.")
