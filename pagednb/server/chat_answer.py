"""Writes a chat's answer down in OpenAI's shapes, as it comes from the engine."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

from pagednb.outputs import CompletionOutput
from pagednb.server.choice_reader import ChoiceReader, Delta
from pagednb.server.desk import Desk
from pagednb.server.event_stream import DONE, event
from pagednb.server.logprobs import Position, chat_logprobs, prompt_logprobs
from pagednb.server.prompts import TokenIds, as_list
from pagednb.server.served_call import ServedCall
from pagednb.server.usage import StreamUsage

MakeReader = Callable[[], ChoiceReader]


@dataclasses.dataclass(slots=True)
class _Choice:
    """One answer so far."""

    reader: ChoiceReader
    has_begun: bool = False
    num_calls: int = 0
    has_ended: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ChatForm:
    """What a request wants to be told.

    Attributes:
        prompt: what the model sees.
        num_answers: how many choices there are.
        num_top: alternatives told of each token; None tells no log-probabilities.
        called_reason: the finish reason of a choice that stopped after calls.
    """

    prompt: TokenIds
    num_answers: int
    num_top: int | None
    called_reason: str
    tells_token_ids: bool = False
    tells_prompt_logprobs: bool = False


class ChatAnswer:
    """The answer to one request; ``make_reader`` makes what takes one choice apart."""

    def __init__(self, desk: Desk, call: ServedCall, make_reader: MakeReader, form: ChatForm) -> None:
        self._desk = desk
        self._call = call
        self._form = form
        self._choices = [_Choice(make_reader()) for _ in range(form.num_answers)]
        self._id = f"chatcmpl-{desk.new_id()}"
        self._created = int(time.time())

    async def whole(self) -> dict[str, Any]:
        """Return the answer when it is complete."""
        try:
            ((_, output),) = await self._call.news()
        finally:
            self._desk.close(self._call)
        answer = self._head("chat.completion")
        answer["choices"] = [self._whole_choice(completion) for completion in output.outputs]
        answer["usage"] = self._call.usage.as_dict()
        if self._form.tells_prompt_logprobs:
            answer["prompt_logprobs"] = prompt_logprobs(output.prompt_logprobs or ())
        if self._form.tells_token_ids:
            answer["prompt_token_ids"] = as_list(self._form.prompt)
        return answer

    async def chunks(self, usage: StreamUsage) -> AsyncGenerator[bytes, None]:
        """Yield the answer as events."""
        head = self._head("chat.completion.chunk")
        once = {"prompt_token_ids": as_list(self._form.prompt)} if self._form.tells_token_ids else {}
        try:
            while self._call.is_pending:
                for _, output in await self._call.news():
                    for completion in output.outputs:
                        for choice in self._grown(completion):
                            yield event({**head, **once, "choices": [choice], **usage.beside(self._call.usage)})
                            once = {}
        finally:
            self._desk.close(self._call)
        if usage.is_told:
            yield event({**head, "choices": [], "usage": self._call.usage.as_dict()})
        yield DONE

    def _head(self, kind: str) -> dict[str, Any]:
        model = self._desk.settings.served_model_names[0]
        return {"id": self._id, "object": kind, "created": self._created, "model": model}

    def _whole_choice(self, completion: CompletionOutput) -> dict[str, Any]:
        reader = self._choices[completion.index].reader
        first, last = reader.push(completion.text), reader.finish()
        calls = [*first.calls, *last.calls]
        content = first.content + last.content
        message: dict[str, Any] = {"role": "assistant", "content": content if content or not calls else None}
        if reasoning := first.reasoning + last.reasoning:
            message["reasoning_content"] = reasoning
        if calls:
            message["tool_calls"] = [call.as_dict() for call in calls]
        return {
            "index": completion.index,
            "message": message,
            "logprobs": self._logprobs(completion.logprobs),
            "finish_reason": self._finish_reason(completion, has_calls=bool(calls)),
            "stop_reason": completion.stop_reason,
            **self._token_ids(completion),
        }

    def _grown(self, completion: CompletionOutput) -> list[dict[str, Any]]:
        """Return what is new of a choice, and at its end the reason in a chunk of its own."""
        choice = self._choices[completion.index]
        if choice.has_ended:
            return []
        choice.has_ended = completion.finish_reason is not None
        delta = choice.reader.push(completion.text)
        chunks = self._chunks_of(completion, choice, delta)
        if choice.has_ended:
            rest = dataclasses.replace(completion, logprobs=None, token_ids=())
            chunks += self._chunks_of(rest, choice, choice.reader.finish())
            reason = self._finish_reason(completion, has_calls=choice.num_calls > 0)
            nothing = {} if choice.has_begun else {"role": "assistant", "content": ""}
            end = {"finish_reason": reason, "stop_reason": completion.stop_reason}
            chunks.append({**_chunk(completion.index, nothing), **end})
        return chunks

    def _chunks_of(self, completion: CompletionOutput, choice: _Choice, delta: Delta) -> list[dict[str, Any]]:
        has_ids = self._form.tells_token_ids and bool(completion.token_ids)
        if not delta and not completion.logprobs and not has_ids:
            return []
        message: dict[str, Any] = {} if choice.has_begun else {"role": "assistant"}
        choice.has_begun = True
        if delta.reasoning:
            message["reasoning_content"] = delta.reasoning
        if delta.content:
            message["content"] = delta.content
        if delta.calls:
            indexed = enumerate(delta.calls, choice.num_calls)
            message["tool_calls"] = [{"index": index, **call.as_dict()} for index, call in indexed]
            choice.num_calls += len(delta.calls)
        logprobs = self._logprobs(completion.logprobs)
        return [{**_chunk(completion.index, message), "logprobs": logprobs, **self._token_ids(completion)}]

    def _token_ids(self, completion: CompletionOutput) -> dict[str, Any]:
        return {"token_ids": completion.token_ids} if self._form.tells_token_ids else {}

    def _logprobs(self, positions: tuple[Position, ...] | None) -> dict[str, Any] | None:
        num_top = self._form.num_top
        return None if positions is None or num_top is None else chat_logprobs(positions, num_top)

    def _finish_reason(self, completion: CompletionOutput, *, has_calls: bool) -> str | None:
        is_called = has_calls and completion.finish_reason == "stop"
        return self._form.called_reason if is_called else completion.finish_reason


def _chunk(index: int, message: dict[str, Any]) -> dict[str, Any]:
    return {"index": index, "delta": message, "logprobs": None, "finish_reason": None}
