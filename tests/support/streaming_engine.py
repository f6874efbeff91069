"""An engine without a model, for chats: each answer is a script, and a test may hold it back and let it go on."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Self

from pagednb.outputs import CompletionOutput, RequestMetrics, RequestOutput
from pagednb.sampling_params import SamplingParams

Piece = str | BaseException


class StreamingEngine:
    """Streams ``answer`` word by word as deltas. With ``is_held`` nothing comes but what ``let_go`` names.

    One token is one word of a piece; of every prompt the first 8 characters are cached, and a character is a token.
    """

    def __init__(self, answer: str = "one two three", *, is_held: bool = False) -> None:
        self.answer = answer
        self.is_held = is_held
        self.finish_reason = "stop"
        self.has_chat_template = True
        self.template = "{{ messages }}"
        self.opening = ""  # of the answer, written by the template
        self.tokenizer = SimpleNamespace(get_chat_template=lambda: self.template)
        self.resolved = SimpleNamespace(name="scripted/model", generation_config={})
        self.geometry = SimpleNamespace(max_model_len=1000)
        self.asked: list[tuple[str, SamplingParams]] = []
        self.template_kwargs: list[dict[str, Any]] = []
        self.calls: list[StreamingCall] = []
        self._released: queue.SimpleQueue[Piece | None] = queue.SimpleQueue()

    def let_go(self, *pieces: Piece, is_last: bool = False) -> None:
        """Stream these; an error is raised."""
        for piece in pieces:
            self._released.put(piece)
        if is_last:
            self._released.put(None)

    def chat_prompt(self, messages: Sequence[dict[str, str]], **template_kwargs: Any) -> dict[str, Any]:
        self.template_kwargs.append(template_kwargs)
        text = "".join(f"<{message['role']}>{message['content']}" for message in messages) + "<assistant>"
        text += self.opening
        return {"prompt": text, "prompt_token_ids": list(range(len(text)))}

    def open_call(self, *, stream: bool, returns_prompts: bool, deltas: bool) -> StreamingCall:
        assert stream and deltas and not returns_prompts
        self.calls.append(StreamingCall(self))
        return self.calls[-1]

    def next_piece(self) -> Piece | None:
        return self._released.get(timeout=0.1)


class StreamingCall:
    """One answer; ``was_aborted`` if it was left before its end."""

    def __init__(self, engine: StreamingEngine) -> None:
        self._engine = engine
        self._words: list[str] = []
        self._first_token_s: float | None = None
        self.num_pending = 0
        self.was_aborted = False
        self.thread = threading.current_thread()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.was_aborted = self.num_pending > 0
        self.num_pending = 0

    def submit(self, key: None, prompt: dict[str, Any], params: SamplingParams) -> None:
        self._engine.asked.append((prompt["prompt"], params))
        words = self._engine.answer.split(" ")
        self._words = [word if index == 0 else f" {word}" for index, word in enumerate(words)]
        self.num_pending = 1

    def poll(self) -> list[tuple[None, RequestOutput]]:
        if not self._engine.is_held:
            text = self._words.pop(0)
            return [(None, self._output(text, is_last=not self._words))]
        try:
            piece = self._engine.next_piece()
        except queue.Empty:
            return []
        if isinstance(piece, BaseException):
            self.num_pending = 0
            raise piece
        return [(None, self._output(piece or "", is_last=piece is None))]

    def _output(self, text: str, *, is_last: bool) -> RequestOutput:
        if self._first_token_s is None:
            self._first_token_s = time.perf_counter()
        if is_last:
            self.num_pending = 0
        reason: Any = self._engine.finish_reason if is_last else None
        token_ids = tuple(range(len(text.split())))
        return RequestOutput(
            request_id="0",
            prompt=None,
            prompt_token_ids=(),
            outputs=(CompletionOutput(index=0, text=text, token_ids=token_ids, finish_reason=reason),),
            finished=is_last,
            num_cached_tokens=8,
            metrics=RequestMetrics(arrival_s=0.0, first_token_s=self._first_token_s),
        )
