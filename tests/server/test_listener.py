"""Addresses: held before anything is loaded, shown as a client can use them."""

from __future__ import annotations

import socket

import pytest

from pagednb.errors import OptionError
from pagednb.server.listener import bind_listener, is_loopback, url_of


@pytest.mark.parametrize(
    ("host", "shown", "is_private"),
    [
        ("127.0.0.1", "http://127.0.0.1:", True),
        ("localhost", "http://", True),
        ("0.0.0.0", "http://127.0.0.1:", False),
        ("::1", "http://[::1]:", True),
    ],
)
def test_addresses(host: str, shown: str, is_private: bool) -> None:
    if host == "::1" and not socket.has_ipv6:
        pytest.skip("no IPv6")
    try:
        listener = bind_listener(host, 0)
    except OptionError:
        assert host == "::1"
        pytest.skip("no IPv6")
    with listener:
        assert url_of(listener).startswith(shown)
        assert is_loopback(listener) is is_private


def test_an_address_that_somebody_listens_on_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OptionError, match="Choose another port"):
        bind_listener("127.0.0.1", taken.getsockname()[1])
