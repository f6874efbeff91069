"""Who may come in: requests with the key, and none that a web page sends unless its origin was named.

Without the second rule any page that a user of this machine opens could have a server on loopback work for it: the
browser would only keep the answer from the page. Programs send no Origin header.
"""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from pagednb.server.api_error import error_body
from pagednb.server.json_response import JsonResponse

OPEN_PATHS = frozenset({"/health", "/version", "/metrics"})
"""Probes and scrapers come without a key; these paths tell of load, never of texts."""


class Gate:
    """Refuses with 401 or 403, in OpenAI's shape, before any route is looked for."""

    def __init__(self, app: ASGIApp, *, api_key: str | None, allowed_origins: tuple[str, ...]) -> None:
        self._app = app
        self._authorization = None if api_key is None else f"Bearer {api_key}".encode()
        self._allowed_origins = allowed_origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> JsonResponse | None:
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        if origin is not None and not {origin, "*"}.intersection(self._allowed_origins):
            return _refused(403, f"Pages of {origin} may not call this server.", "origin_not_allowed")
        if self._authorization is None or scope["path"] in OPEN_PATHS:
            return None
        given = headers.get("authorization", "").encode("latin-1")
        if hmac.compare_digest(given, self._authorization):
            return None
        return _refused(401, "Send the server's key as 'Authorization: Bearer KEY'.", "invalid_api_key")


def _refused(status: int, message: str, code: str) -> JsonResponse:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JsonResponse(error_body(status, message, code=code), status, headers)
