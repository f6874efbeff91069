"""``/generate``: the endpoint of vLLM's first demonstration server; texts hold prompt and answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from fastapi import APIRouter, Request
from starlette.responses import Response

from pagednb.server.desk import Desk
from pagednb.server.event_stream import EventStream
from pagednb.server.json_response import JsonResponse, to_json
from pagednb.server.prompts import completion_prompts
from pagednb.server.protocol.generate_request import GenerateRequest
from pagednb.server.sampling import refuse_late_figures, sampling_params
from pagednb.server.served_call import ServedCall


def generate_routes(desk: Desk) -> APIRouter:
    """Return the route."""
    router = APIRouter()

    @router.post("/generate", response_model=None)
    async def generate(body: GenerateRequest, request: Request) -> Response:
        """Return ``{"text": [...]}``; of a stream one such line whenever a text has grown."""
        params = sampling_params(desk, body)
        refuse_late_figures(body, params)
        prompts = await completion_prompts(desk, body.prompt)
        call = await desk.submit(request.receive, prompts, params, stream=bool(body.stream), priority=body.priority)
        if body.stream:
            lines = _lines(desk, call, [body.prompt] * params.n)
            return EventStream(lines, write_timeout_s=desk.settings.write_timeout_s, media_type="application/x-ndjson")
        try:
            ((_, output),) = await call.news()
        finally:
            desk.close(call)
        return JsonResponse({"text": [body.prompt + completion.text for completion in output.outputs]})

    return router


async def _lines(desk: Desk, call: ServedCall, texts: list[str]) -> AsyncGenerator[bytes, None]:
    try:
        while call.is_pending:
            for _, output in await call.news():
                for completion in output.outputs:
                    texts[completion.index] += completion.text
                yield to_json({"text": texts}) + b"\n"
    finally:
        desk.close(call)
