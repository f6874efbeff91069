"""``/v1/completions``: prompts in, their continuations out, in one piece or as a stream."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from pagednb.outputs import CompletionOutput
from pagednb.server.api_error import ApiError
from pagednb.server.desk import Desk
from pagednb.server.event_stream import DONE, EventStream, event
from pagednb.server.json_response import JsonResponse
from pagednb.server.logprobs import completion_logprobs
from pagednb.server.prompts import completion_prompts
from pagednb.server.protocol.completion_request import CompletionRequest
from pagednb.server.sampling import sampling_params
from pagednb.server.served_call import ServedCall
from pagednb.server.served_model import require_model


def completion_routes(desk: Desk) -> APIRouter:
    """Return the route."""
    router = APIRouter()

    @router.post("/v1/completions", response_model=None)
    async def completions(body: CompletionRequest, request: Request) -> Response:
        """Go on with each prompt; choice ``i`` belongs to prompt ``i // n``."""
        require_model(desk.settings, body.model)
        if body.stream_options is not None and not body.stream:
            raise ApiError("stream_options belongs to a stream.", param="stream_options")
        prompts = await completion_prompts(desk, body.prompt, add_special_tokens=body.add_special_tokens is not False)
        params = sampling_params(desk, body, logprobs=body.logprobs)
        call = await desk.submit(request.receive, prompts, params, stream=bool(body.stream))
        answer = _Answer(desk, call, num_answers=params.n, num_top=body.logprobs)
        if not body.stream:
            return JsonResponse(await answer.whole())
        has_usage = body.stream_options is not None and body.stream_options.include_usage
        return EventStream(answer.chunks(has_usage=has_usage), write_timeout_s=desk.settings.write_timeout_s)

    return router


class _Answer:
    """Writes one answer down as it comes from the engine."""

    def __init__(self, desk: Desk, call: ServedCall, *, num_answers: int, num_top: int | None) -> None:
        self._desk = desk
        self._call = call
        self._num_answers = num_answers
        self._num_top = num_top
        self._offsets: dict[int, int] = {}  # of streams: characters written, by choice
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
                        index = prompt_index * self._num_answers + completion.index
                        choices[index] = self._choice(index, completion)
        finally:
            self._desk.close(self._call)
        in_order = [choices[index] for index in sorted(choices)]
        return {**self._head, "choices": in_order, "usage": self._call.usage.as_dict()}

    async def chunks(self, *, has_usage: bool) -> AsyncGenerator[bytes, None]:
        """Yield the answer as events; with ``has_usage`` the last one counts tokens."""
        head = {**self._head, "usage": None} if has_usage else self._head
        try:
            while self._call.is_pending:
                for prompt_index, output in await self._call.news():
                    choices = self._grown(prompt_index * self._num_answers, output.outputs)
                    if choices:
                        yield event({**head, "choices": choices})
        finally:
            self._desk.close(self._call)
        if has_usage:
            yield event({**head, "choices": [], "usage": self._call.usage.as_dict()})
        yield DONE

    def _grown(self, first_index: int, completions: tuple[CompletionOutput, ...]) -> list[dict[str, Any]]:
        """Return the choices with something new."""
        choices = []
        for completion in completions:
            index = first_index + completion.index
            has_ended = completion.finish_reason is not None
            if index in self._ended or not (completion.text or completion.logprobs or has_ended):
                continue
            if has_ended:
                self._ended.add(index)
            choices.append(self._choice(index, completion))
        return choices

    def _choice(self, index: int, completion: CompletionOutput) -> dict[str, Any]:
        logprobs = None
        if completion.logprobs is not None and self._num_top is not None:
            logprobs = completion_logprobs(completion.logprobs, self._num_top, self._offsets.get(index, 0))
            self._offsets[index] = self._offsets.get(index, 0) + sum(map(len, logprobs["tokens"]))
        return {
            "index": index,
            "text": completion.text,
            "logprobs": logprobs,
            "finish_reason": completion.finish_reason,
            "stop_reason": completion.stop_reason,
        }
