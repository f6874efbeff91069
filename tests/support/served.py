"""Servers on free ports, and what a client sees of them without a client library."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
from support.engine_rig import RigExecutor, assert_idle, make_engine

from pagednb.engine.llm_engine import LLMEngine
from pagednb.server.listener import bind_listener
from pagednb.server.server import Server
from pagednb.server.settings import ServerSettings

WAIT_S = 20.0


def start(engine: LLMEngine, **options: Any) -> Server:
    """Serve ``engine`` under the name "m"."""
    settings = ServerSettings(**{"served_model_names": ("m",), **options})
    return Server(engine, bind_listener("127.0.0.1", 0), settings)


@contextlib.contextmanager
def serving(rig_options: dict[str, Any] | None = None, **options: Any) -> Iterator[tuple[httpx.Client, Any]]:
    """A client of a server over an engine whose tokens are known in advance, and that engine; idle at the end."""
    with serving_rig(rig_options, **options) as (client, engine, _):
        yield client, engine


@contextlib.contextmanager
def serving_rig(
    rig_options: dict[str, Any] | None = None, **options: Any
) -> Iterator[tuple[httpx.Client, LLMEngine, RigExecutor]]:
    """As ``serving``, with the engine's executor."""
    engine, executor = make_engine(**(rig_options or {}))
    server = start(engine, **options)
    try:
        with httpx.Client(base_url=server.url, timeout=WAIT_S) as client:
            yield client, engine, executor
        if not engine.is_over:
            executor.before_step = lambda: None
            wait_until(lambda: is_idle(engine))
            assert_idle(engine)
    finally:
        server.stop()
        engine.shutdown()


def wait_until(is_true: Callable[[], bool]) -> None:
    """Return when ``is_true``; fail if it takes long."""
    deadline_s = time.perf_counter() + WAIT_S
    while not is_true():
        assert time.perf_counter() < deadline_s, "it never became true"
        time.sleep(0.005)


def is_idle(engine: LLMEngine) -> bool:
    """Whether nothing runs or waits."""
    stats = engine.status().scheduler
    return stats.num_running + stats.num_waiting == 0


def events(response: httpx.Response) -> list[Any]:
    """Return the data of a whole stream's events; the last one must be the end mark, which is left out."""
    *data, end = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert end == "[DONE]"
    return [json.loads(each) for each in data]


def open_stream(server_url: str, body: dict[str, Any], *, receive_bytes: int | None = None) -> socket.socket:
    """Send a request for a stream over a plain socket, which may take in little at a time."""
    host, port = server_url.removeprefix("http://").split(":")
    connection = socket.socket()
    connection.settimeout(WAIT_S)
    if receive_bytes is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.connect((host, int(port)))
    content = json.dumps({**body, "stream": True}).encode()
    head = ["POST /v1/completions HTTP/1.1", "Host: m", "Content-Type: application/json"]
    head += [f"Content-Length: {len(content)}", "", ""]
    connection.sendall("\r\n".join(head).encode() + content)
    return connection
