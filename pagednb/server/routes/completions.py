"""``/v1/completions``: prompts in, their continuations out, in one piece or as a stream."""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, Request
from starlette.responses import Response

from pagednb.sampling_params import SamplingParams
from pagednb.server.api_error import ApiError
from pagednb.server.completion_answer import CompletionAnswer, CompletionForm
from pagednb.server.desk import Desk
from pagednb.server.event_stream import EventStream
from pagednb.server.json_response import JsonResponse
from pagednb.server.prompts import completion_prompts, truncated
from pagednb.server.protocol.completion_request import CompletionRequest
from pagednb.server.sampling import refuse_late_figures, sampling_params
from pagednb.server.served_model import require_model
from pagednb.server.usage import StreamUsage


def completion_routes(desk: Desk) -> APIRouter:
    """Return the route."""
    router = APIRouter()

    @router.post("/v1/completions", response_model=None)
    async def completions(body: CompletionRequest, request: Request) -> Response:
        """Go on with each prompt; choice ``i`` belongs to prompt ``i // n``."""
        require_model(desk.settings, body.model)
        usage = StreamUsage(body)
        params = _params(desk, body)
        prompts = await completion_prompts(desk, body.prompt, add_special_tokens=body.add_special_tokens is not False)
        prompts = truncated(desk, prompts, params)
        call = await desk.submit(request.receive, prompts, params, stream=bool(body.stream), priority=body.priority)
        form = CompletionForm(
            prompts=prompts,
            texts=_texts(body),
            num_answers=params.n,
            num_top=body.logprobs,
            is_echoed=bool(body.echo),
            is_answered=not _is_prompt_alone(body),
            tells_token_ids=bool(body.return_token_ids),
            tells_prompt_logprobs=body.prompt_logprobs is not None,
        )
        answer = CompletionAnswer(desk, call, form)
        if not body.stream:
            return JsonResponse(await answer.whole())
        return EventStream(answer.chunks(usage), write_timeout_s=desk.settings.write_timeout_s)

    return router


def _params(desk: Desk, body: CompletionRequest) -> SamplingParams:
    """Return how answers are sampled; whoever wants the prompt back may want no more than that."""
    if body.echo and body.logprobs is not None:
        if body.prompt_logprobs not in (None, body.logprobs):
            raise ApiError("With echo, logprobs and prompt_logprobs are one number.", param="prompt_logprobs")
        num_of_prompt: int | None = body.logprobs
    else:
        num_of_prompt = body.prompt_logprobs
    lengths = {"max_tokens": 1} if _is_prompt_alone(body) else {}
    params = sampling_params(desk, body, logprobs=body.logprobs, prompt_logprobs=num_of_prompt, **lengths)
    refuse_late_figures(body, params)
    return params


def _is_prompt_alone(body: CompletionRequest) -> bool:
    if not body.echo or body.max_tokens != 0:
        return False
    if body.stream:
        raise ApiError("A prompt without an answer comes in one piece: leave stream out.", param="max_tokens")
    return True


def _texts(body: CompletionRequest) -> list[str] | None:
    """Return the prompts as texts, if that is what was sent and all of them is used."""
    sent = body.prompt if isinstance(body.prompt, list) else [body.prompt]
    is_used = body.truncate_prompt_tokens is None and all(isinstance(each, str) for each in sent)
    return cast("list[str]", sent) if is_used else None
