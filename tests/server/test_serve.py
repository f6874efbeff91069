"""``pnb.serve`` in a process that has other things to do: it comes, shows itself and goes without a trace."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest
from support.served import wait_until

import pagednb as pnb
from pagednb import runtime
from pagednb.errors import EngineNotLoadedError, OptionError
from pagednb.server.server import Server
from pagednb.server.web_server import WebServer


@pytest.fixture(scope="module", autouse=True)
def model():
    yield pnb.load(device="cpu", num_gpu_blocks_override=500)
    pnb.unload()


def test_the_loaded_model_is_served_beside_the_notebook() -> None:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    loggers = [logging.getLogger(name) for name in (None, "uvicorn", "uvicorn.error", "uvicorn.access", "asyncio")]
    logging_set_up = [(each.level, each.propagate, list(each.handlers)) for each in loggers]
    num_threads = threading.active_count()
    server = pnb.serve()
    try:
        assert {number: signal.getsignal(number) for number in handlers} == handlers
        assert server.url.startswith("http://127.0.0.1:")
        answer = httpx.get(f"{server.url}/v1/models").json()
        assert [card["id"] for card in answer["data"]] == ["pagednb/embedded"]
        assert pnb.load(device="cpu", num_gpu_blocks_override=500).generate("Hi", use_tqdm=False)
    finally:
        server.stop()
    server.stop()
    assert not server.is_running and "stopped" in repr(server) and "stopped" in server._repr_html_()
    assert threading.active_count() == num_threads
    assert [(each.level, each.propagate, list(each.handlers)) for each in loggers] == logging_set_up


def test_an_interrupt_while_it_starts_leaves_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = set(threading.enumerate())
    begun = threading.Event()

    def starting(web: WebServer, sockets: list[socket.socket]) -> None:
        begun.set()
        while not web.should_exit:
            time.sleep(0.01)

    def press_stop() -> None:
        begun.wait()
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(WebServer, "run", starting)
    button = threading.Thread(target=press_stop)
    button.start()
    with pytest.raises(KeyboardInterrupt):
        pnb.serve()
    # not by join: to Python 3.11 a thread whose join was interrupted counts as stopped while it runs
    wait_until(lambda: set(threading.enumerate()) <= threads)


def test_what_a_server_shows_can_be_pasted() -> None:
    server = pnb.serve()
    shown = repr(server)
    curl = shown[shown.index("curl") : shown.index("from openai")].replace("\\\n", "")
    done = subprocess.run([*shlex.split(curl), "-sS"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["choices"][0]["text"]
    names: dict = {}
    *lines, last = shown[shown.index("from openai") :].splitlines()
    exec("\n".join(lines), names)
    with names["client"]:
        assert isinstance(eval(last, names), str)
    assert server.url in server._repr_html_()
    server.stop()


def test_a_key_is_named_and_never_shown() -> None:
    server = pnb.serve(api_key="open sesame")
    for shown in (repr(server), server._repr_html_()):
        assert "sesame" not in shown and "PAGEDNB_API_KEY" in shown
    assert httpx.get(f"{server.url}/v1/models").status_code == 401
    server.stop()


def test_names_are_those_that_were_given() -> None:
    server = pnb.serve(served_model_name=["a", "b"], max_n=2, allowed_origins="http://localhost:1")
    names = [card["id"] for card in httpx.get(f"{server.url}/v1/models").json()["data"]]
    assert names == ["a", "b"]
    for origin, status in (("http://localhost:1", 200), ("http", 403)):
        assert httpx.get(f"{server.url}/v1/models", headers={"Origin": origin}).status_code == status
    server.stop()


@pytest.mark.parametrize("rest", [b"Content-Length: 100\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"])
def test_half_a_request_keeps_no_server_from_stopping(rest: bytes, caplog: pytest.LogCaptureFixture) -> None:
    server = pnb.serve()
    port = int(server.url.rpartition(":")[2])
    head = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", port)) as client, socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(head)
        client.sendall(head + rest)
        httpx.get(f"{server.url}/health")  # what came before has been read by now
        server.stop()
        assert b"503 Service Unavailable" in client.recv(1000)
        assert slow.recv(1000) == b""
    assert not caplog.records, "uvicorn complains of those that it had to cut off"


def test_mistakes_are_refused_and_leave_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    num_threads = threading.active_count()
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(OptionError, match=r"Nothing can listen on 127\.0\.0\.1 port"),
    ):
        pnb.serve(taken.getsockname()[1])
    for wrong in (
        *({"port": port} for port in (70_000, -1, "8000", None, 80.5, True)),
        *({"host": host} for host in ("no.such.host.invalid", 5, None)),
        *({"served_model_name": name} for name in ("", [], [""], 5)),
        *({"allowed_origins": origins} for origins in (5, [5], None, [""])),
        {"max_nn": 3},
        {"api_key": ""},
    ):
        with pytest.raises(OptionError, match=f"(?i){next(iter(wrong))[:4]}"):
            pnb.serve(**wrong)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "fastapi" else find(name))
    with pytest.raises(OptionError, match=r"fastapi, which is not installed.*pagednb\[serve\]"):
        pnb.serve()
    assert threading.active_count() == num_threads


def test_unloading_ends_the_server() -> None:
    server: Server = pnb.serve()
    pnb.unload()
    assert not server.is_running
    assert not runtime.is_loaded()
    with pytest.raises(EngineNotLoadedError):
        pnb.serve()
    pnb.load(device="cpu", num_gpu_blocks_override=500)


def test_nothing_of_it_is_imported_before() -> None:
    code = "import sys, pagednb; pagednb.serve; print([m for m in ('fastapi', 'uvicorn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
