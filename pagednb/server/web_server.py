"""uvicorn, set up as a guest in a process: no logging of its own, and calls that end before connections do."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import uvicorn

from pagednb.server.app import create_app
from pagednb.server.desk import Desk
from pagednb.server.listener import BACKLOG

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine
    from pagednb.server.settings import ServerSettings

STOP_S = 5
"""Clients that have not taken the end of their answer by then are cut off."""


class WebServer(uvicorn.Server):
    """Serves one engine. ``run(sockets=...)`` works until ``should_exit``; on the main thread signals set that."""

    def __init__(self, engine: LLMEngine, settings: ServerSettings) -> None:
        self._desk = Desk(engine, settings)
        super().__init__(
            uvicorn.Config(
                create_app(self._desk),
                proxy_headers=False,  # nobody asks who the client is
                log_config=None,  # what the host has set up for uvicorn's loggers, if anything, holds
                server_header=False,
                ws="none",
                lifespan="on",
                backlog=BACKLOG,
                timeout_graceful_shutdown=STOP_S,
            )
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell everyone who waits, then end as uvicorn does."""
        self._desk.end_all()
        await super().shutdown(sockets)
