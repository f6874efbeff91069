"""``/v1/chat/completions``: a conversation in, its next turn out, in one piece or as a stream."""

from __future__ import annotations

import functools
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from pagednb.rendering.thinking import ThinkingSplitter
from pagednb.server.api_error import ApiError
from pagednb.server.chat_answer import ChatAnswer, ChatForm
from pagednb.server.chat_prompt import ChatPrompt, chat_prompt
from pagednb.server.chat_template import ChatTemplate
from pagednb.server.choice_reader import ChoiceReader
from pagednb.server.desk import Desk
from pagednb.server.event_stream import EventStream
from pagednb.server.json_response import JsonResponse
from pagednb.server.prompts import truncated
from pagednb.server.protocol.chat_request import ChatRequest
from pagednb.server.sampling import refuse_late_figures, sampling_params, schema_text
from pagednb.server.served_model import require_model
from pagednb.server.tools.tool_choice import ToolChoice, tool_choice_of
from pagednb.server.usage import StreamUsage


def chat_routes(desk: Desk) -> APIRouter:
    """Return the route."""
    router = APIRouter()
    template = ChatTemplate.of(desk.engine, desk.settings.tool_format)

    @router.post("/v1/chat/completions", response_model=None)
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        """Answer a conversation, perhaps with calls of its tools."""
        require_model(desk.settings, body.model)
        usage = StreamUsage(body)
        choice = tool_choice_of(body)
        kwargs = _template_kwargs(template, body)
        overrides = _overrides(body, choice, shows_marks=template.tool_format.marks_are_special)
        params = sampling_params(desk, body, prompt_logprobs=body.prompt_logprobs, **overrides)
        refuse_late_figures(body, params)
        prompt = await chat_prompt(desk, template, body.messages, choice.tools, **kwargs)
        prompts = truncated(desk, [prompt.token_ids], params)
        call = await desk.submit(request.receive, prompts, params, stream=bool(body.stream), priority=body.priority)
        form = ChatForm(
            prompt=prompts[0],
            num_answers=params.n,
            num_top=params.logprobs,
            called_reason="stop" if choice.forced_name is not None else "tool_calls",
            tells_token_ids=bool(body.return_token_ids),
            tells_prompt_logprobs=body.prompt_logprobs is not None,
        )
        answer = ChatAnswer(desk, call, functools.partial(_reader, choice, template, prompt), form)
        if not body.stream:
            return JsonResponse(await answer.whole())
        return EventStream(answer.chunks(usage), write_timeout_s=desk.settings.write_timeout_s)

    return router


def _template_kwargs(template: ChatTemplate, body: ChatRequest) -> dict[str, Any]:
    """Return what the chat template is told beside messages and tools."""
    effort = {} if body.reasoning_effort is None else {"reasoning_effort": body.reasoning_effort}
    kwargs = template.checked({**effort, **(body.chat_template_kwargs or {})})
    goes_on = bool(body.continue_final_message)
    if goes_on:
        if body.add_generation_prompt is not False:
            raise ApiError("continue_final_message needs add_generation_prompt to be false.")
        if body.messages[-1].role != "assistant" or not body.messages[-1].content:
            raise ApiError("continue_final_message needs a last message of the assistant, with a text.")
        kwargs["continue_final_message"] = True
    return {**kwargs, "add_generation_prompt": body.add_generation_prompt is not False}


def _reader(choice: ToolChoice, template: ChatTemplate, prompt: ChatPrompt) -> ChoiceReader:
    thinks = template.model_thinks or prompt.is_thinking
    thinking = ThinkingSplitter(starts_inside=prompt.is_thinking) if thinks else None
    return ChoiceReader(thinking, choice.reader(template.tool_format))


def _overrides(body: ChatRequest, choice: ToolChoice, *, shows_marks: bool) -> dict[str, Any]:
    """Return what the fields of chats make of sampling parameters; an answer is as long as fits unless bounded."""
    if body.max_tokens is not None and body.max_completion_tokens not in (None, body.max_tokens):
        raise ApiError("max_tokens and max_completion_tokens are two names of one limit.", param="max_tokens")
    if body.top_logprobs is not None and not body.logprobs:
        raise ApiError("top_logprobs needs logprobs to be true.", param="top_logprobs")
    overrides: dict[str, Any] = {
        "max_tokens": body.max_completion_tokens if body.max_tokens is None else body.max_tokens,
        "logprobs": (body.top_logprobs or 0) if body.logprobs else None,
    }
    if choice.schema is not None:
        overrides["schema"] = schema_text(choice.schema)
    if choice.tools and shows_marks and body.skip_special_tokens is None:
        overrides["skip_special_tokens"] = False
    return overrides
