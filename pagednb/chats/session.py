"""A conversation in progress: what people press and what the engine answers change one tree, a step at a time.

Its methods may be called on any thread, return at once, and hold the lock for no longer than it takes to change the
tree; buttons call them from whichever thread the kernel chose. Observers are told that something changed, never what:
they look at ``state``.
"""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pagednb.chats.chat_options import ChatOptions
from pagednb.chats.conversation_tree import OPENING, ConversationTree
from pagednb.chats.generation import Generation
from pagednb.chats.messages import messages_of, whole_characters
from pagednb.chats.pending_answer import PendingAnswer
from pagednb.chats.turn import Role, Turn
from pagednb.errors import OptionError

Said = Sequence[tuple[Role, str]]


@dataclasses.dataclass(frozen=True)
class ChatState:
    """The conversation at one moment."""

    tree: ConversationTree
    options: ChatOptions
    is_answering: bool
    can_undo: bool


class ChatSession:
    """One conversation with the engine of this process; at most one answer of it is on its way."""

    def __init__(self, options: ChatOptions, said: Said = ()) -> None:
        self._lock = threading.RLock()
        self._ids = (f"t{number}" for number in itertools.count(1))
        self._options = options
        self._tree = self._tree_of(said)
        self._past: list[ConversationTree] = []
        self._live: _LiveAnswer | None = None
        self._observers: list[Callable[[], None]] = []

    @property
    def state(self) -> ChatState:
        """The conversation of now."""
        with self._lock:
            return ChatState(self._tree, self._options, self._live is not None, bool(self._past))

    def observe(self, observer: Callable[[], None]) -> None:
        """Call ``observer`` after each change, on the thread that made it."""
        self._observers.append(observer)

    def ask(self, text: str, **sampling: Any) -> PendingAnswer:
        """Say ``text`` at the end of the branch and have it answered; ``sampling`` holds for this answer only.

        Raises:
            OptionError: there is no text, an option is not valid, or an answer is on its way.
        """
        text = _spoken(text)
        options = self._options.updated(sampling)
        with self._lock:
            if self._live is not None:
                raise OptionError("An answer is on its way.", hint="Wait for it, or call stop().")
            self._remember()
            question = self._add("user", text, after=self._tree.last_id)
            pending = self._answer(question, options)
        self._tell()
        return pending

    def regenerate(self, turn_id: str, **sampling: Any) -> PendingAnswer:
        """Have the question before an answer answered again, as another branch. Raises as ``ask``."""
        options = self._options.updated(sampling)
        with self._lock:
            turn = self._known(turn_id)
            self._remember()
            pending = self._answer(turn_id if turn.role == "user" else self._tree.followed(turn_id), options)
        self._tell()
        return pending

    def edit(self, turn_id: str, text: str) -> PendingAnswer | None:
        """Say something else in the place of a turn, as another branch; a question is answered again.

        Raises:
            OptionError: there is no text, or no such turn.
        """
        text = _spoken(text)
        with self._lock:
            turn = self._known(turn_id)
            self._remember()
            added = self._add(turn.role, text, after=self._tree.followed(turn_id))
            pending = self._answer(added, self._options) if turn.role == "user" else None
        self._tell()
        return pending

    def choose(self, turn_id: str) -> None:
        """Show the branch that leads through a turn. Raises OptionError if there is no such turn."""
        with self._lock:
            self._known(turn_id)
            self._cut()
            self._tree = self._tree.chosen(turn_id)
        self._tell()

    def stop(self) -> bool:
        """End the answer that is on its way and keep what has come of it; return whether there was one."""
        with self._lock:
            was_live = self._cut()
        self._tell()
        return was_live

    def undo(self) -> str | None:
        """Take the last step back: a question, an edit, another answer, a clearing. Returns the question's text."""
        with self._lock:
            self._cut()
            if not self._past:
                return None
            undone, self._tree = self._tree.branch, self._past.pop()
            taken_back = [turn.text for turn in undone if turn.role == "user" and turn.turn_id not in self._tree.turns]
        self._tell()
        return taken_back[0] if taken_back else None

    def clear(self) -> None:
        """Begin anew; one step to undo."""
        self.replace(ConversationTree(), self._options)

    def replace(self, tree: ConversationTree, options: ChatOptions) -> None:
        """Go on from another conversation; one step to undo, its options aside."""
        with self._lock:
            self._remember()
            self._tree, self._options = tree, options
        self._tell()

    def set_options(self, changes: Mapping[str, Any]) -> None:
        """Change what holds for the next answers; None takes a sampling parameter out. Raises OptionError."""
        with self._lock:
            self._options = self._options.updated(changes)
        self._tell()

    def _known(self, turn_id: str) -> Turn:
        if turn_id not in self._tree.turns:
            raise OptionError(f"This chat has no turn {turn_id!r}.", hint="It may have been undone.")
        return self._tree.turns[turn_id]

    def _remember(self) -> None:
        """Keep the tree as it is for ``undo``: frozen, with nothing on its way."""
        self._cut()
        self._past.append(self._tree)

    def _next_id(self) -> str:
        """Return an id that this conversation never had, undone turns included; those of a file count, too."""
        return next(turn_id for turn_id in self._ids if turn_id not in self._tree.turns)

    def _add(self, role: Role, text: str, *, after: str) -> str:
        is_edited = role == "assistant"
        turn = Turn(turn_id=self._next_id(), role=role, text=text, is_edited=is_edited)
        self._tree = self._tree.added(turn, after=after)
        return turn.turn_id

    def _answer(self, question: str, options: ChatOptions) -> PendingAnswer:
        """Begin the answer that follows a turn."""
        turn = Turn(turn_id=self._next_id(), role="assistant", text="", state="streaming")
        self._tree = self._tree.added(turn, after=question)
        messages = messages_of(self._tree.before(turn.turn_id), system=options.system)
        generation = Generation(turn, messages, options, self._report)
        self._live = _LiveAnswer(turn.turn_id, generation, PendingAnswer(lambda: self._stop_if(generation)))
        generation.start()
        return self._live.pending

    def _report(self, generation: Generation, turn: Turn, error: BaseException | None) -> None:
        """Take in what has come of an answer, on its thread; of one that was cut nothing is wanted any more."""
        with self._lock:
            live = self._live
            if live is None or live.generation is not generation:
                return
            self._tree = self._tree.replaced(turn)
            if not turn.is_streaming:
                self._live = None
        try:
            self._tell()
        finally:
            if not turn.is_streaming:
                live.pending.settle(turn, error)

    def _stop_if(self, generation: Generation) -> None:
        with self._lock:
            if self._live is not None and self._live.generation is generation:
                self._cut()
        self._tell()

    def _cut(self) -> bool:
        """Let go of the answer that is on its way; what has come of it stays."""
        live, self._live = self._live, None
        if live is None:
            return False
        live.generation.stop()
        turn = dataclasses.replace(self._tree.turns[live.turn_id], state="stopped")
        self._tree = self._tree.replaced(turn)
        live.pending.settle(turn)
        return True

    def _tell(self) -> None:
        for observer in self._observers:
            observer()

    def _tree_of(self, said: Said) -> ConversationTree:
        tree, last = ConversationTree(), OPENING
        for (role, text), turn_id in zip(said, self._ids, strict=False):
            tree, last = tree.added(Turn(turn_id=turn_id, role=role, text=text), after=last), turn_id
        return tree


@dataclasses.dataclass(frozen=True)
class _LiveAnswer:
    """The answer that is on its way."""

    turn_id: str
    generation: Generation
    pending: PendingAnswer


def _spoken(text: Any) -> str:
    """Return what somebody said, or raise OptionError if it is nothing."""
    if not isinstance(text, str) or not text.strip():
        raise OptionError("There is nothing to say.", hint="Give a text.")
    return whole_characters(text)
