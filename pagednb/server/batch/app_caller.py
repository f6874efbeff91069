"""Calls the server's application as a function: no socket, no port, and every check and answer as over HTTP."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Scope

_HEADERS = [(b"host", b"localhost"), (b"content-type", b"application/json")]


async def call_app(app: ASGIApp, path: str, body: bytes) -> tuple[int, bytes]:
    """Post ``body`` to a route and return status and answer. Cancelling it aborts what the engine does for it."""
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": _HEADERS,
        "client": None,
        "server": None,
    }
    sent: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    status = 0
    answer = bytearray()

    async def receive() -> Message:
        if not sent:
            await asyncio.Event().wait()  # this client never hangs up
        return sent.pop()

    async def send(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)
        answer.extend(message.get("body", b""))

    await app(scope, receive, send)
    return status, bytes(answer)
