"""Server-sent events: an answer in pieces, each written when the client has taken the one before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pagednb.server.api_error import ApiError
from pagednb.server.json_response import to_json
from pagednb.server.served_call import ClientGoneError

DONE = b"data: [DONE]\n\n"


class EventStream(Response):
    """Writes ``chunks``, bytes, as they come, and closes them at the end, however it comes.

    An error in the middle is the last event but one. A client that takes nothing for ``write_timeout_s`` is given up.
    """

    def __init__(
        self, chunks: AsyncGenerator[bytes, None], *, write_timeout_s: float, media_type: str = "text/event-stream"
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}, media_type=media_type)
        del self.headers["content-length"]
        self._chunks = chunks
        self._write_timeout_s = write_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write the response."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async for chunk in self._chunks:
                async with asyncio.timeout(self._write_timeout_s):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except ApiError as error:
            await send({"type": "http.response.body", "body": event(error.body()) + DONE, "more_body": True})
        except (ClientGoneError, TimeoutError):
            pass
        finally:
            await self._chunks.aclose()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def event(data: object) -> bytes:
    """Return one event."""
    return b"data: " + to_json(data) + b"\n\n"
