"""Writes continuations down in OpenAI's shape, as they come from the engine."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from pagednb.outputs import CompletionOutput, RequestOutput
from pagednb.server.desk import Desk
from pagednb.server.event_stream import DONE, event
from pagednb.server.logprobs import Position, completion_logprobs, prompt_logprobs
from pagednb.server.prompts import TokenIds, as_list
from pagednb.server.served_call import ServedCall
from pagednb.server.usage import StreamUsage


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CompletionForm:
    """What a request wants to be told.

    Attributes:
        prompts: what the model sees.
        texts: the prompts as they were sent, if they were sent as texts.
        num_answers: choices of each prompt; choice ``i`` belongs to prompt ``i // num_answers``.
        num_top: alternatives told of each token; None tells no log-probabilities.
        is_echoed: whether choices begin with their prompts.
        is_answered: False if nothing is wanted but the prompts.
    """

    prompts: Sequence[TokenIds]
    texts: Sequence[str] | None = None
    num_answers: int = 1
    num_top: int | None = None
    is_echoed: bool = False
    is_answered: bool = True
    tells_token_ids: bool = False
    tells_prompt_logprobs: bool = False


class CompletionAnswer:
    """The answer to one request; the call is given back to the desk at its end, however it comes."""

    def __init__(self, desk: Desk, call: ServedCall, form: CompletionForm) -> None:
        self._desk = desk
        self._call = call
        self._form = form
        self._offsets: dict[int, int] = {}  # of streams: characters written, by choice
        self._begun: set[int] = set()  # choices whose prompts were told
        self._ended: set[int] = set()
        self._head = {
            "id": f"cmpl-{desk.new_id()}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": desk.settings.served_model_names[0],
        }

    async def whole(self) -> dict[str, Any]:
        """Return the answer when it is complete."""
        choices = {}
        try:
            while self._call.is_pending:
                for prompt_index, output in await self._call.news():
                    for completion in output.outputs:
                        choice = self._whole_choice(prompt_index, output, completion)
                        choices[choice["index"]] = choice
        finally:
            self._desk.close(self._call)
        if not self._form.is_answered:
            self._call.usage.num_completion_tokens = 0
        in_order = [choices[index] for index in sorted(choices)]
        return {**self._head, "choices": in_order, "usage": self._call.usage.as_dict()}

    async def chunks(self, usage: StreamUsage) -> AsyncGenerator[bytes, None]:
        """Yield the answer as events."""
        try:
            if self._form.is_echoed:
                yield event({**self._head, "choices": self._echoes(), **usage.beside(self._call.usage)})
            while self._call.is_pending:
                for prompt_index, output in await self._call.news():
                    choices = self._grown(prompt_index, output.outputs)
                    if choices:
                        yield event({**self._head, "choices": choices, **usage.beside(self._call.usage)})
        finally:
            self._desk.close(self._call)
        if usage.is_told:
            yield event({**self._head, "choices": [], "usage": self._call.usage.as_dict()})
        yield DONE

    def _whole_choice(self, prompt_index: int, output: RequestOutput, completion: CompletionOutput) -> dict[str, Any]:
        if not self._form.is_answered:  # the one token that every request samples
            completion = dataclasses.replace(completion, text="", token_ids=(), logprobs=completion.logprobs and ())
        choice = self._choice(prompt_index, completion)
        if self._form.is_echoed:
            choice["text"] = self._prompt_text(prompt_index) + choice["text"]
            choice["logprobs"] = self._echoed_logprobs(prompt_index, output, completion)
        if self._form.tells_prompt_logprobs:
            choice["prompt_logprobs"] = prompt_logprobs(output.prompt_logprobs or ())
        return choice

    def _echoed_logprobs(
        self, prompt_index: int, output: RequestOutput, completion: CompletionOutput
    ) -> dict[str, Any] | None:
        if completion.logprobs is None or self._form.num_top is None:
            return None
        positions: list[Position | None] = [*(output.prompt_logprobs or (None,)), *completion.logprobs]
        first_text = self._desk.engine.decode(as_list(self._form.prompts[prompt_index][:1]))
        return completion_logprobs(positions, self._form.num_top, first_text=first_text)

    def _echoes(self) -> list[dict[str, Any]]:
        """Return choices that hold their prompts."""
        return [
            self._choice(prompt_index, CompletionOutput(index=index, text=text, token_ids=()))
            for prompt_index, text in enumerate(map(self._prompt_text, range(len(self._form.prompts))))
            for index in range(self._form.num_answers)
        ]

    def _prompt_text(self, prompt_index: int) -> str:
        if self._form.texts is not None:
            return self._form.texts[prompt_index]
        return self._desk.engine.decode(as_list(self._form.prompts[prompt_index]))

    def _grown(self, prompt_index: int, completions: tuple[CompletionOutput, ...]) -> list[dict[str, Any]]:
        """Return the choices with something new."""
        choices = []
        for completion in completions:
            index = prompt_index * self._form.num_answers + completion.index
            has_ended = completion.finish_reason is not None
            has_ids = self._form.tells_token_ids and bool(completion.token_ids)
            if index in self._ended or not (completion.text or completion.logprobs or has_ids or has_ended):
                continue
            if has_ended:
                self._ended.add(index)
            choices.append(self._choice(prompt_index, completion))
        return choices

    def _choice(self, prompt_index: int, completion: CompletionOutput) -> dict[str, Any]:
        form = self._form
        index = prompt_index * form.num_answers + completion.index
        logprobs = None
        if completion.logprobs is not None and form.num_top is not None:
            offset = self._offsets.get(index, 0)
            logprobs = completion_logprobs(completion.logprobs, form.num_top, text_offset=offset)
            self._offsets[index] = offset + sum(map(len, logprobs["tokens"]))
        choice = {
            "index": index,
            "text": completion.text,
            "logprobs": logprobs,
            "finish_reason": completion.finish_reason,
            "stop_reason": completion.stop_reason,
        }
        if form.tells_token_ids:
            choice["prompt_token_ids"] = None if index in self._begun else as_list(form.prompts[prompt_index])
            choice["token_ids"] = completion.token_ids
            self._begun.add(index)
        return choice
