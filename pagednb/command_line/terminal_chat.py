"""A conversation in a terminal: reads lines, streams answers, obeys a few words with a slash. Knows no argparse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TextIO

from pagednb.command_line.terminal import printable
from pagednb.errors import OptionError, PagednbError, nearest_name
from pagednb.rendering.thinking import Piece, ThinkingSplitter

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine
    from pagednb.sampling_params import SamplingParams

HELP = """\
/help          this list
/system TEXT   begin again, with instructions; without TEXT, with none
/reset         begin again
/exit          leave, as Ctrl-D does
Ctrl-C stops an answer; what came of it stays part of the conversation."""

_PROMPT = "> "
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
Read = Callable[[str], str]
"""Shows a prompt and returns a line; raises EOFError at the end, as ``input``."""


class TerminalChat:
    """One conversation; ``messages`` are OpenAI's, thoughts are no part of them.

    Args:
        read: where lines come from.
        out: where answers go.
        is_terminal: a person looks on: prompts and, dimmed, thoughts are shown.

    Raises:
        OptionError: the model has no chat template.
    """

    def __init__(
        self,
        engine: LLMEngine,
        params: SamplingParams,
        *,
        system: str | None,
        read: Read,
        out: TextIO,
        is_terminal: bool,
    ) -> None:
        if not engine.has_chat_template:
            raise OptionError(
                f"{engine.resolved.name!r} has no chat template: it was not made for chats.",
                hint="Take a model whose name says Instruct or Chat, or one like Qwen/Qwen3-0.6B.",
            )
        self._engine = engine
        self._params = params
        self._read = read
        self._out = out
        self._is_terminal = is_terminal
        self._commands: Mapping[str, Callable[[str], None]] = {
            "/help": lambda rest: self._say(HELP),
            "/system": self._begin,
            "/reset": lambda rest: self._begin(self._system or ""),
        }
        self._system: str | None = None
        self.messages: list[dict[str, str]] = []
        self._instruct(system)

    def run(self) -> None:
        """Talk until /exit or the end of the input.

        Raises:
            KeyboardInterrupt: Ctrl-C between answers, where nobody is asked at a terminal.
            EngineDeadError: the engine is gone.
        """
        while (line := self._next_line()) is not None:
            word, _, rest = line.partition(" ")
            if word == "/exit":
                return
            if word in self._commands:
                self._commands[word](rest.strip())
            elif word.startswith("/") and word[1:].isalpha():
                nearest = nearest_name(word, [*self._commands, "/exit"])
                self._say(f"There is no {word}." + (f" Did you mean {nearest}?" if nearest else " /help lists all."))
            elif line:
                self._answer(line)

    def _next_line(self) -> str | None:
        try:
            return self._read(_PROMPT if self._is_terminal else "").strip()
        except EOFError:
            if self._is_terminal:
                self._say("")
            return None
        except KeyboardInterrupt:
            if not self._is_terminal:
                raise
            self._say("\nCtrl-D or /exit leaves.")
            return ""

    def _begin(self, system: str) -> None:
        self._instruct(system or None)
        self._say("A new conversation, with instructions." if system else "A new conversation.")

    def _instruct(self, system: str | None) -> None:
        self._system = system
        self.messages = [] if system is None else [{"role": "system", "content": system}]

    def _answer(self, question: str) -> None:
        """Stream the answer and remember both; a question without an answer is forgotten."""
        asked = [*self.messages, {"role": "user", "content": question}]
        said: list[str] = []
        try:
            self._stream(asked, said)
        except KeyboardInterrupt:
            self._say(f"{_PLAIN if self._is_terminal else ''} [stopped]")
        except PagednbError as error:
            if self._engine.is_over:
                raise
            self._say(f"{error} /reset begins again.")
            return
        else:
            self._say("")
        if answer := "".join(said).strip():  # stopped before its first word, it is no turn
            self.messages = [*asked, {"role": "assistant", "content": answer}]

    def _stream(self, messages: list[dict[str, str]], said: list[str]) -> None:
        prompt = self._engine.chat_prompt(messages)
        splitter = ThinkingSplitter(starts_inside=prompt["prompt"].rstrip().endswith("<think>"))
        with self._engine.open_call(stream=True, returns_prompts=False, deltas=True) as call:
            call.submit(None, prompt, self._params)
            for _, output in call.results():
                self._show(splitter.push(output.outputs[0].text), said)
        self._show(splitter.finish(), said)

    def _show(self, pieces: list[Piece], said: list[str]) -> None:
        for kind, text in pieces:
            if kind == "answer":
                said.append(text)
                self._out.write(printable(text))
            elif self._is_terminal:
                self._out.write(f"{_DIM}{printable(text)}{_PLAIN}")
        self._out.flush()

    def _say(self, text: str) -> None:
        self._out.write(f"{text}\n")
        self._out.flush()
