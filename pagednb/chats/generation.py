"""One answer on its way: a thread of its own asks the engine and reports what has come.

The main thread stays free meanwhile, so that buttons work whatever the kernel does with their messages. The thread
never prints, and ends with the answer.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pagednb import runtime
from pagednb.chats.chat_options import ChatOptions
from pagednb.chats.growing_answer import GrowingAnswer
from pagednb.chats.messages import Message
from pagednb.chats.turn import AnswerFigures, Turn
from pagednb.errors import RequestCancelledError

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine

REPORTS_PER_S = 10
"""With the messages that begin and end an answer, no second ever sees more than 15."""
_THINK = "<think>"

Report = Callable[["Generation", Turn, BaseException | None], None]
"""Gets the turn as it grows; one that streams no longer is the last. The error is what to raise, if anything."""


class Generation:
    """Asks the engine of this process to answer ``messages``; ``turn`` is what the answer will be."""

    def __init__(self, turn: Turn, messages: list[Message], options: ChatOptions, report: Report) -> None:
        self._turn = turn
        self._messages = messages
        self._options = options
        self._report = report
        self._is_stopped = threading.Event()
        self._asked_s = time.perf_counter()
        self._thread = threading.Thread(target=self._run, name="pagednb chat", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Let go of the request within a tenth of a second; nothing is reported any longer. Returns at once."""
        self._is_stopped.set()

    def _run(self) -> None:
        try:
            self._answer(runtime.get_engine())
        except RequestCancelledError as error:
            self._settle(dataclasses.replace(self._turn, state="stopped"), error)
        except BaseException as error:  # noqa: BLE001  the thread's boundary: it becomes the turn's error
            self._settle(dataclasses.replace(self._turn, state="failed", error=_sentence(error)), error)

    def _answer(self, engine: LLMEngine) -> None:
        prompt = engine.chat_prompt(self._messages, **self._options.template_kwargs(engine))
        params = self._options.sampling_params(engine)
        answer = GrowingAnswer(
            self._turn,
            _first_figures(engine, prompt),
            asked_s=self._asked_s,
            starts_inside=prompt["prompt"].rstrip().endswith(_THINK),
        )
        next_report_s = 0.0
        with engine.open_call(stream=True, returns_prompts=False, deltas=True) as call:
            call.submit(None, prompt, params)
            while call.num_pending and not self._is_stopped.is_set():
                for _, output in call.poll():
                    answer.take(output)
                self._turn = answer.turn
                if self._turn.is_streaming and time.perf_counter() >= next_report_s:
                    next_report_s = time.perf_counter() + 1 / REPORTS_PER_S
                    self._report(self, self._turn, None)
        self._settle(answer.turn, None)

    def _settle(self, turn: Turn, error: BaseException | None) -> None:
        if not self._is_stopped.is_set():
            self._report(self, turn, error)


def _first_figures(engine: LLMEngine, prompt: dict[str, Any]) -> AnswerFigures:
    return AnswerFigures(
        model=engine.resolved.name,
        max_context_tokens=engine.geometry.max_model_len,
        num_prompt_tokens=len(prompt["prompt_token_ids"]),
    )


def _sentence(error: BaseException) -> str:
    text = str(error)
    return text if isinstance(error, Exception) and text else f"{type(error).__name__}: {text}"
