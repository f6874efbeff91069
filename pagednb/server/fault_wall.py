"""The last resort: a fault of ours in a route becomes a 500 for its client, and one line in the log.

The line names the kind of error and the place in the code, and never its text, which may hold a prompt.
"""

from __future__ import annotations

import logging
import traceback

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pagednb.server.api_error import FAILED, error_body
from pagednb.server.json_response import JsonResponse
from pagednb.server.served_call import ClientGoneError

LOGGER = logging.getLogger("pagednb.server")


class FaultWall:
    """Nothing that is raised below gets past it, so that uvicorn has nothing to print."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and answer whatever it raises."""
        has_begun = False

        async def watched(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientGoneError:
            if not has_begun:  # uvicorn complains of requests without an answer, even when nobody waits for it
                await JsonResponse(error_body(499, "The client hung up."), 499)(scope, receive, send)
        except Exception as error:  # noqa: BLE001  (boundary of the connection: its client is told)
            frame = traceback.extract_tb(error.__traceback__)[-1]
            LOGGER.error("%s in %s, line %d", type(error).__name__, frame.filename, frame.lineno or 0)
            if not has_begun:
                message = f"The server made a mistake ({type(error).__name__}). It answers the next request."
                await JsonResponse(error_body(FAILED, message, code="internal_error"), FAILED)(scope, receive, send)
