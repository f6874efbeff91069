"""``pagednb.chat``: a conversation with the engine of this process, in a cell of the notebook and from Python."""

from __future__ import annotations

import functools
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from pagednb import runtime
from pagednb.chats.chat_file import read_chat, write_chat
from pagednb.chats.chat_options import ChatOptions
from pagednb.chats.messages import Message, messages_of, spoken
from pagednb.chats.presenter import ChatPresenter
from pagednb.chats.session import ChatSession
from pagednb.chats.transcript import Transcript
from pagednb.chats.turn import Turn
from pagednb.errors import OptionError
from pagednb.rendering.stylesheet import stylesheet

if TYPE_CHECKING:
    from pagednb.widgets.chat import ChatWidget


def chat(
    *,
    system: str | None = None,
    name: str | None = None,
    messages: Sequence[Mapping[str, Any]] | None = None,
    thinking: bool | None = None,
    **sampling: Any,
) -> Chat:
    """Return a chat with the loaded model; as the last expression of a cell it shows itself.

    Args:
        system: The system prompt.
        name: The chat of this name in this kernel, made if there is none: the cell run again goes on where it was.
        messages: What was said before, as OpenAI's dicts; a named chat that has turns already keeps its own.
        thinking: Whether a model that can thinks before it answers; None leaves it to the model.
        sampling: Sampling parameters of all answers, such as ``temperature`` and ``max_tokens``. What is missing is
            what the model's authors recommend, or else a temperature of 0.7 and as many tokens as fit.

    Raises:
        OptionError, PromptError: an option or a message that is not valid.
    """
    opening, said = spoken(messages or ())
    changes = {**sampling, "system": opening if system is None else system, "thinking": thinking}
    options = ChatOptions().updated({key: value for key, value in changes.items() if value is not None})
    made = Chat(ChatSession(options, said), name)
    if name is None:
        return made
    kept = runtime.kept("chats", dict[str, Chat]).setdefault(name, made)
    if kept is not made:
        kept.set_options(**{key: value for key, value in changes.items() if value is not None})
        if not kept.turns and said:
            kept._session.replace(made._session.state.tree, kept.options)
    return kept


class Chat:
    """A conversation with branches: edit or regenerate any turn, and both versions stay.

    Made by ``pagednb.chat``. It shows itself in a notebook, in as many places as you like; they and these methods are
    one conversation. Any thread may call them. Answers stream with the priority of somebody who waits, beside whatever
    else the engine does.
    """

    def __init__(self, session: ChatSession, name: str | None) -> None:
        self._session = session
        self.name = name

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The turns of the branch that is shown."""
        return self._session.state.tree.branch

    @property
    def messages(self) -> list[Message]:
        """The conversation as OpenAI's dicts: the system prompt and the branch that is shown, without thoughts."""
        state = self._session.state
        return messages_of(state.tree.branch, system=state.options.system)

    @property
    def options(self) -> ChatOptions:
        """What holds for the next answers."""
        return self._session.state.options

    def set_options(self, **changes: Any) -> None:
        """Change ``system``, ``thinking`` or sampling parameters for the next answers; None takes one of those out.

        Raises:
            OptionError: an option that is not valid; nothing changes then.
        """
        self._session.set_options(changes)

    def ask(self, text: str, **sampling: Any) -> Turn:
        """Say ``text`` and return the answer, which is seen to grow wherever the chat is shown.

        ``sampling`` holds for this answer only. An interrupt stops it, within half a second; what has come stays.

        Raises:
            EngineNotLoadedError: there is no model.
            OptionError: there is no text, an option is not valid, or an answer is on its way.
            PagednbError: what went wrong with the answer; its turn says so, too.
        """
        runtime.get_engine()
        return self._session.ask(text, **sampling).wait()

    async def aask(self, text: str, **sampling: Any) -> Turn:
        """``ask`` for cells that await: other tasks go on meanwhile. Cancelling the task stops the answer."""
        runtime.get_engine()
        return await self._session.ask(text, **sampling)

    def regenerate(self, turn: int = -1, **sampling: Any) -> Turn:
        """Have an answer given again, as another branch; ``turn`` counts in ``turns``. Raises as ``ask``."""
        runtime.get_engine()
        return self._session.regenerate(self._turn_id(turn), **sampling).wait()

    def edit(self, turn: int, text: str) -> Turn:
        """Say something else in the place of a turn, as another branch; return the last turn of it.

        A question is answered again. An answer of the model becomes what you write, and the chat goes on from there.
        Raises as ``ask``.
        """
        pending = self._session.edit(self._turn_id(turn), text)
        return self.turns[-1] if pending is None else pending.wait()

    def branches(self, turn: int = -1) -> tuple[Turn, ...]:
        """Return all versions of a turn, in order of time."""
        tree = self._session.state.tree
        return tuple(tree.turns[turn_id] for turn_id in tree.siblings(self._turn_id(turn)))

    def choose(self, turn: int, branch: int) -> None:
        """Show another version of a turn, and what followed it; ``branch`` counts in ``branches(turn)``."""
        self._session.choose(_at(self.branches(turn), branch, "branch").turn_id)

    def stop(self) -> bool:
        """End the answer that is on its way and keep what has come of it; return whether there was one."""
        return self._session.stop()

    def undo(self) -> None:
        """Take the last step back: a question, an edit, another answer, a clearing."""
        self._session.undo()

    def clear(self) -> None:
        """Begin anew. ``undo`` brings everything back."""
        self._session.clear()

    def to_frame(self, *, branches: bool = False) -> Any:
        """Return the turns as a frame, with the figures of the answers; all ``branches`` or the one that is shown."""
        from pagednb.dataframe.chat_frame import chat_frame

        tree = self._session.state.tree
        turns = tree.turns.values() if branches else tree.branch
        return chat_frame([(turn, tree.siblings(turn.turn_id)) for turn in turns])

    def to_markdown(self) -> str:
        """Return the branch that is shown as markdown."""
        return self.freeze().to_markdown()

    def freeze(self) -> Transcript:
        """Return the conversation as it stands: shown in a cell it stays in the saved notebook, on GitHub and so on."""
        return Transcript(self.turns, self.options.system)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the conversation with all branches and options, as JSON Lines. Raises ChatFileError if that fails."""
        state = self._session.state
        write_chat(pathlib.Path(path), state.tree, state.options)

    def load(self, path: str | os.PathLike[str]) -> Self:
        """Go on from a conversation that ``save`` wrote, and return this chat; one step to undo.

        Raises:
            ChatFileError: the file cannot be read, or is no chat.
        """
        self._session.replace(*read_chat(pathlib.Path(path)))
        return self

    @functools.cached_property
    def widget(self) -> ChatWidget:
        """The chat as a widget, for layouts of your own."""
        from pagednb.widgets.chat import ChatWidget

        presenter = ChatPresenter(self._session, name=self.name)
        widget = ChatWidget(presenter, stylesheet=stylesheet())
        presenter.connect(widget.send)
        return widget

    def __repr__(self) -> str:
        name = "" if self.name is None else f" {self.name!r}"
        return f"<pagednb chat{name}: {len(self.turns)} turns; freeze() keeps them in the saved notebook>"

    def _repr_mimebundle_(self, **options: Any) -> Any:
        bundle = self.widget._repr_mimebundle_(**options)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        return {**data, "text/plain": repr(self)}, metadata

    def _turn_id(self, turn: int) -> str:
        return _at(self.turns, turn, "turn").turn_id


def _at(turns: Sequence[Turn], index: int, what: str) -> Turn:
    if not isinstance(index, int) or not -len(turns) <= index < len(turns):
        raise OptionError(
            f"There is no {what} {index!r}; there are {len(turns)}.", hint="Count from 0, or back from -1."
        )
    return turns[index]
