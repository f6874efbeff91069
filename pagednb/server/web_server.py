"""uvicorn, set up as a guest in a process: no logging of its own, and calls that end before connections do."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from pagednb.server.app import create_app
from pagednb.server.desk import Desk
from pagednb.server.listener import BACKLOG

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine
    from pagednb.server.settings import ServerSettings

LOGGER = logging.getLogger("pagednb.server.connections")
LOGGER.addHandler(logging.NullHandler())  # without one Python would print below whichever cell ran last

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
                http=_make_protocol,  # type: ignore[arg-type]  # called like a class
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


def _make_protocol(**options: Any) -> asyncio.Protocol:
    """Return what reads one connection; its complaints of junk, which any port scan sends, go to a log of ours."""
    protocol = AutoHTTPProtocol(**options)
    protocol.logger = LOGGER  # type: ignore[attr-defined]  # of both of uvicorn's
    return protocol
