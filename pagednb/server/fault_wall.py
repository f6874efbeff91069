"""The last resort: a fault of ours in a route becomes one line in the log. Its client has been told already.

The line names the kind of error and the place in the code, and never its text, which may hold a prompt.
"""

from __future__ import annotations

import logging
import traceback

from starlette.types import ASGIApp, Receive, Scope, Send

LOGGER = logging.getLogger("pagednb.server")


class FaultWall:
    """Nothing that is raised below gets past it, so that uvicorn has nothing to print."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        try:
            await self._app(scope, receive, send)
        except Exception as error:  # noqa: BLE001  (boundary of the connection: its client is told)
            frame = traceback.extract_tb(error.__traceback__)[-1]
            LOGGER.error("%s in %s, line %d", type(error).__name__, frame.filename, frame.lineno or 0)
