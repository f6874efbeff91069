"""What a client is told of errors that FastAPI finds before, or raises instead of, our routes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pagednb.errors import nearest_name
from pagednb.server.api_error import BAD_REQUEST, CLIENT_GONE, FAILED, NO_SUCH_METHOD, NOT_FOUND, ApiError, error_body
from pagednb.server.json_response import JsonResponse
from pagednb.server.missing_routes import missing_route
from pagednb.server.protocol.chat_request import ChatRequest
from pagednb.server.protocol.completion_request import CompletionRequest
from pagednb.server.protocol.embedding_requests import EmbeddingRequest
from pagednb.server.protocol.foreign_fields import FOREIGN_FIELDS

_KNOWN_NAMES = {*ChatRequest.model_fields, *CompletionRequest.model_fields, *EmbeddingRequest.model_fields}


async def answer_http_error(request: Request, error: Exception) -> Response:
    """Answer an ``ApiError``, or what the router raises for unknown paths and methods."""
    assert isinstance(error, HTTPException)
    body = error.body() if isinstance(error, ApiError) else error_body(error.status_code, _sentence(request, error))
    return JsonResponse(body, error.status_code, error.headers)


def _sentence(request: Request, error: HTTPException) -> str:
    """Return what to say of an error that the router or FastAPI raised in a word or two."""
    if error.status_code == NOT_FOUND:
        return missing_route(request.url.path)
    if error.status_code == NO_SUCH_METHOD:
        return f"{request.url.path} takes {(error.headers or {}).get('Allow')}, not {request.method}."
    if error.status_code == BAD_REQUEST:
        return "The body cannot be read as JSON: it is not UTF-8, is nested too deeply, or has a number too long."
    return str(error.detail)


async def answer_fault(request: Request, error: Exception) -> Response:
    """Answer 500 for a fault of ours, without its text, which may hold a prompt."""
    message = f"The server made a mistake ({type(error).__name__}). It answers the next request."
    return JsonResponse(error_body(FAILED, message, code="internal_error"), FAILED)


async def answer_nobody(request: Request, error: Exception) -> Response:
    """Answer a client that hung up: uvicorn complains of requests without an answer."""
    return Response(status_code=CLIENT_GONE)


async def answer_invalid_body(request: Request, error: Exception) -> Response:
    """Answer 400, naming the first field that is wrong and all that is wrong with it."""
    assert isinstance(error, RequestValidationError)
    errors = error.errors()
    place = _place(errors[0])
    reasons = dict.fromkeys(_reason(each) for each in errors if _place(each)[:1] == place[:1])
    message = f"{'; or '.join(reasons)}."
    is_read = errors[0]["type"] != "json_invalid"  # else the place is that of a character
    param = ".".join(map(str, itertools.takewhile(_is_key, place))) if is_read else ""
    return JsonResponse(error_body(BAD_REQUEST, message, param=param or None), BAD_REQUEST)


def _place(error: dict[str, Any]) -> Sequence[str | int]:
    """Return where in the body an error is, as keys and indexes."""
    place: Sequence[str | int] = error["loc"]
    return place[1:] if place[:1] == ("body",) else place


def _is_key(part: str | int) -> bool:
    """Whether a part of a place is the client's, and not the name of a type that pydantic tried."""
    return isinstance(part, int) or (part.isidentifier() and part.islower() and part != "str")


def _reason(error: dict[str, Any]) -> str:
    """Return a sentence without its full stop."""
    name = ".".join(map(str, _place(error)))
    if error["type"] == "json_invalid":
        return f"The body is not valid JSON: {error['ctx']['error']}"
    if not name:
        return "The body must be a JSON object, sent with the header 'Content-Type: application/json'"
    if error["type"] == "extra_forbidden" and name in FOREIGN_FIELDS:
        return f"The field {name!r} is not built. {FOREIGN_FIELDS[name].reason}"
    if error["type"] == "extra_forbidden":
        nearest = nearest_name(name, _KNOWN_NAMES - {name})
        return f"There is no field {name!r}" + (f"; the nearest is {nearest!r}" if nearest else "")
    return f"{name}: {error['msg']}"
