"""The socket that a server listens on: made before its thread, so that a taken port is the caller's error."""

from __future__ import annotations

import socket

from pagednb.errors import OptionError

BACKLOG = 2048
"""Connections that wait to be accepted: a thousand clients may come at once."""


def open_listener(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes any that is free.

    Raises:
        OptionError: the address does not exist here, or is taken.
    """
    if not 0 <= port <= 65535:
        raise OptionError(f"Port {port} does not exist.", hint="Give one from 0 (any that is free) to 65535.")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise OptionError(
            f"Nothing can listen on {host} port {port}: {error.strerror or error}.", hint="Choose another port, or 0."
        ) from error
