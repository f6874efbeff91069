"""Refuses requests that are too large, by what they announce and by what they send, and ends those that never end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pagednb.server.api_error import TOO_LARGE, ApiError, stopping
from pagednb.server.json_response import JsonResponse

if TYPE_CHECKING:
    from pagednb.server.desk import Desk


class BodyLimit:
    """Lets no route see more than ``max_body_bytes``, and no half-sent request keep the desk from closing."""

    def __init__(self, app: ASGIApp, desk: Desk) -> None:
        self._app = app
        self._desk = desk
        self._max_bytes = desk.settings.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdigit() and int(announced) > self._max_bytes:
            await _answer(self._too_large(), scope, receive, send)
            return
        task = asyncio.current_task()
        assert task is not None
        num_bytes = 0

        async def counted() -> Message:
            nonlocal num_bytes
            message = await receive()
            num_bytes += len(message.get("body", b""))
            if num_bytes > self._max_bytes:
                raise self._too_large()
            if not message.get("more_body", False):
                self._desk.half_sent.discard(task)
            return message

        self._desk.half_sent.add(task)
        try:
            await self._app(scope, counted, send)
        except asyncio.CancelledError:
            if not (self._desk.is_closed and task in self._desk.half_sent):
                raise
            task.uncancel()
            await _answer(stopping(), scope, receive, send)
        finally:
            self._desk.half_sent.discard(task)

    def _too_large(self) -> ApiError:
        return ApiError(
            f"The request has more than {self._max_bytes:,} bytes.", status=TOO_LARGE, code="request_too_large"
        )


async def _answer(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    await JsonResponse(error.body(), error.status_code, error.headers)(scope, receive, send)
