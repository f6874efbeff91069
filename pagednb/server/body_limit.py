"""Refuses requests that are too large, by what they announce and by what they send."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pagednb.server.api_error import TOO_LARGE, ApiError
from pagednb.server.json_response import JsonResponse


class BodyLimit:
    """Lets no route see more than ``max_bytes`` of a body."""

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdigit() and int(announced) > self._max_bytes:
            error = self._too_large()
            await JsonResponse(error.body(), error.status_code)(scope, receive, send)
            return
        num_bytes = 0

        async def counted() -> Message:
            nonlocal num_bytes
            message = await receive()
            num_bytes += len(message.get("body", b""))
            if num_bytes > self._max_bytes:
                raise self._too_large()
            return message

        await self._app(scope, counted, send)

    def _too_large(self) -> ApiError:
        return ApiError(
            f"The request has more than {self._max_bytes:,} bytes.", status=TOO_LARGE, code="request_too_large"
        )
