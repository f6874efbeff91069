"""The socket that a server listens on: bound before anything is loaded, so that a taken port is refused at once."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket

from pagednb.checks import is_whole, require
from pagednb.errors import OptionError

BACKLOG = 2048
"""Connections that wait to be accepted: a thousand clients may come at once."""


def bind_listener(host: str, port: int) -> socket.socket:
    """Return a socket that holds an address and does not listen yet; port 0 takes any that is free.

    Raises:
        OptionError: the address does not exist here, or is taken.
    """
    if not is_whole(port) or not 0 <= port <= 65535:
        raise OptionError(f"Port {port!r} does not exist.", hint="Give one from 0 (any that is free) to 65535.")
    require(isinstance(host, str) and host != "", "Option host", host, "a name or address of this machine")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with contextlib.ExitStack() as on_error:
            listener = on_error.enter_context(socket.socket(family, socket.SOCK_STREAM))
            if os.name == "posix":  # elsewhere it would let a second server take the same port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            on_error.pop_all()
            return listener
    except OSError as error:
        raise OptionError(
            f"Nothing can listen on {host} port {port}: {error.strerror or error}.",
            hint="Choose another port, or 0." if error.errno == errno.EADDRINUSE else "Choose another host or port.",
        ) from error


def url_of(listener: socket.socket) -> str:
    """Return the address under which this machine reaches a listener."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # every address of this machine, so that of loopback too
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(listener: socket.socket) -> bool:
    """Whether only this machine reaches a listener."""
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback
