"""Whatever goes wrong, every waiting caller is told, the engine answers the next request, and nothing is left."""

from __future__ import annotations

import logging
import socket
import threading
import time

import httpx
import pytest
import torch
from support.engine_rig import expected_tokens, make_engine
from support.served import events, is_idle, open_stream, serving_rig, start, wait_until

from pagednb.sampling_params import SamplingParams

PROMPT = {"prompt": [5, 6, 7], "max_tokens": 40, "seed": 3}


def fail_at(executor, step: int, error: Exception) -> None:
    """Raise ``error`` in the place of a step, once."""
    last = executor.num_steps + step

    def before_step() -> None:
        if executor.num_steps == last:
            raise error

    executor.before_step = before_step


@pytest.mark.parametrize("kind", [ValueError, torch.cuda.OutOfMemoryError])
def test_a_step_that_fails_is_told_to_everyone_who_waits(kind: type[Exception]) -> None:
    with serving_rig() as (client, _, executor):
        fail_at(executor, 12, kind("secret prompt"))
        answers: list[httpx.Response] = []
        bodies = [{**PROMPT, "stream": index % 2 == 0, "n": 1 + index % 3} for index in range(8)]
        threads = [
            threading.Thread(target=lambda body=body: answers.append(client.post("/v1/completions", json=body)))
            for body in bodies
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(answers) == 8
        assert executor.num_resets == 1
        failed = [answer for answer in answers if "engine_error" in answer.text]
        assert failed, "the step came when nobody waited"
        for answer in failed:
            is_stream = answer.headers["content-type"].startswith("text/event-stream")
            assert answer.status_code == (200 if is_stream else 500)
            told = events(answer)[-1] if is_stream else answer.json()
            assert told["error"]["code"] == "engine_error"
        assert client.post("/v1/completions", json=PROMPT).status_code == 200


def test_who_hangs_up_frees_the_blocks_at_once() -> None:
    with serving_rig() as (client, engine, executor):
        executor.before_step = lambda: time.sleep(0.005)
        for stream in (True, False):
            url = str(client.base_url)
            connection = open_stream(url, {"prompt": [5, 6, 7], "max_tokens": 250, "ignore_eos": True})
            if stream:
                assert connection.recv(100).startswith(b"HTTP/1.1 200")
            wait_until(lambda: not is_idle(engine))
            num_steps = executor.num_steps
            connection.close()
            wait_until(lambda: is_idle(engine))
            assert executor.num_steps < num_steps + 100  # the rest of its 250 tokens was not made
        assert client.post("/v1/completions", json=PROMPT).status_code == 200


def test_a_reader_who_takes_nothing_stops_nobody() -> None:
    body = {"prompt": [5] * 10, "max_tokens": 240, "n": 16, "ignore_eos": True}
    with serving_rig({"num_blocks": 2000}, write_timeout_s=0.3) as (client, engine, _):
        slow = [open_stream(str(client.base_url), body, receive_bytes=1) for _ in range(4)]
        assert client.post("/v1/completions", json=PROMPT).status_code == 200
        wait_until(lambda: is_idle(engine))
        for connection in slow:
            connection.close()


def test_a_server_that_stops_tells_everyone() -> None:
    engine, executor = make_engine()
    executor.before_step = lambda: time.sleep(0.01)
    server = start(engine)
    answers: list[httpx.Response] = []

    def ask(stream: bool) -> None:
        body = {"prompt": [5], "max_tokens": 250, "ignore_eos": True, "stream": stream}
        answers.append(httpx.post(f"{server.url}/v1/completions", json=body, timeout=20))

    threads = [threading.Thread(target=ask, args=(stream,)) for stream in (True, False)]
    for thread in threads:
        thread.start()
    wait_until(lambda: engine.status().scheduler.num_running == 2)
    server.stop()
    for thread in threads:
        thread.join()
    whole, stream = sorted(answers, key=lambda answer: answer.headers["content-type"])
    assert (whole.status_code, whole.json()["error"]["code"]) == (503, "server_stopping")
    assert events(stream)[-1]["error"]["code"] == "server_stopping"
    assert not server.is_running
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/health")
    wait_until(lambda: is_idle(engine))
    with engine.open_call() as call:  # the engine is the notebook's, and goes on
        call.submit(0, [5, 6], SamplingParams(max_tokens=3, seed=1))
        ((_, output),) = list(call.results())
    assert output.outputs[0].token_ids == expected_tokens(1, 2, 3)
    engine.shutdown()


def test_cancelling_everything_reaches_clients() -> None:
    with serving_rig() as (client, engine, executor):
        executor.before_step = lambda: time.sleep(0.01)
        answers: list[httpx.Response] = []
        thread = threading.Thread(target=lambda: answers.append(client.post("/v1/completions", json=PROMPT)))
        thread.start()
        wait_until(lambda: not is_idle(engine))
        engine.cancel_all()
        thread.join()
        assert answers[0].status_code == 503
        assert client.post("/v1/completions", json=PROMPT).status_code == 200


def test_no_text_of_a_request_is_logged(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "the treasure is under the oak"
    with serving_rig() as (client, engine, executor):
        client.post("/v1/completions", json={"prompt": secret, "max_tokens": 3})
        client.post("/v1/completions", json={"prompt": secret, "mood": secret})
        fail_at(executor, 2, ValueError(secret))
        client.post("/v1/completions", json={"prompt": secret, "max_tokens": 30})
        engine.default_sampling_params = None  # a fault of ours, as if
        broken = client.post("/v1/completions", json={"prompt": secret})
        del engine.default_sampling_params
    assert (broken.status_code, broken.json()["error"]["code"]) == (500, "internal_error")
    server_records = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    shown = capfd.readouterr()
    assert any(record.name == "pagednb.server" for record in server_records)
    for text in (*(record.getMessage() for record in server_records), shown.out, shown.err):
        assert "treasure" not in text


def test_connections_that_say_nothing_or_nonsense_are_harmless(caplog: pytest.LogCaptureFixture) -> None:
    with serving_rig() as (client, _, _):
        host, port = client.base_url.host, client.base_url.port
        silent = [socket.create_connection((host, port)) for _ in range(20)]
        upgrade = b"GET /health HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        for connection, junk in zip(silent, (b"\x00\x01", b"GET /", b"POST / HTTP/1.1\r\n\r\n", upgrade), strict=False):
            connection.sendall(junk)
        for answered in (silent[2], silent[3]):
            assert answered.recv(100).startswith(b"HTTP/1.1 ")
        complaints = {record.name for record in caplog.records if record.levelno >= logging.WARNING}
        assert complaints == {"pagednb.server.connections"}  # uvicorn's logger would print below a cell
        assert client.post("/v1/completions", json=PROMPT).status_code == 200
        for connection in silent:
            connection.close()


def test_an_engine_that_ends_before_it_hears_of_a_request_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving_rig() as (client, engine, _):
        submit = engine._loop.submit

        def end_at_once(submissions) -> None:
            engine.shutdown()
            monkeypatch.setattr(engine._loop, "raise_if_over", lambda: None)
            submit(submissions)
            monkeypatch.undo()

        monkeypatch.setattr(engine._loop, "submit", end_at_once)
        answer = client.post("/v1/completions", json=PROMPT)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_unavailable")
