"""``pagednb serve``: vLLM's flags are followed, refused with a sentence, or needless; mistakes cost no loading."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from pagednb.command_line.main import main
from pagednb.command_line.parser import CommandParser
from pagednb.command_line.serve import _engine_options, _server_options, add_arguments
from pagednb.config import EngineConfig


def parse(*words: str):
    parser = CommandParser(prog="pagednb serve")
    add_arguments(parser)
    return parser.parse_intermixed_args(words)


def test_flags_of_vllm_reach_engine_and_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PAGEDNB_API_KEY", raising=False)
    args = parse(
        *("some/model", "--host", "0.0.0.0", "--port", "9000", "--api-key", "k", "--served-model-name", "a", "b"),
        *("--max-model-len", "4096", "--gpu-memory-utilization", "0.5", "--no-enable-prefix-caching", "--seed", "3"),
        *("--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--reasoning-parser", "qwen3"),
        *("--disable-log-requests", "--allowed-origins", '["http://localhost:3000"]', "--enforce-eager"),
    )
    assert (args.model, args.host, args.port, args.served_model_name) == ("some/model", "0.0.0.0", 9000, ["a", "b"])
    assert _server_options(args) == {
        "api_key": "k",
        "allowed_origins": ["http://localhost:3000"],
        "tool_format": "hermes",
    }
    assert _engine_options(args) == {
        "max_model_len": 4096,
        "gpu_memory_utilization": 0.5,
        "enable_prefix_caching": False,
        "seed": 3,
        "enforce_eager": True,
        "disable_log_requests": True,
    }


def test_flags_of_vllm_that_ask_for_nothing_pass() -> None:
    words = "--max_logprobs=20 --no-enable-log-requests --tensor-parallel-size 1 --max-log-len 5 --ssl-keyfile null"
    options = _engine_options(parse(*words.replace("_", "-").split()))
    assert options == {"max_logprobs": 20, "enable_log_requests": False, "tensor_parallel_size": 1}
    assert EngineConfig.from_options(options) == EngineConfig()


def test_what_is_not_given_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PAGEDNB_API_KEY", raising=False)
    args = parse()
    assert (_server_options(args), _engine_options(args), args.host) == ({}, {}, "127.0.0.1")
    monkeypatch.setenv("PAGEDNB_API_KEY", "from the environment")
    assert _server_options(args) == {"api_key": "from the environment"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--tensor-parallel-size", "2"], "tensor_parallel_size=2 is not built yet"),
        (["--quantization", "awq"], "quantization='awq' is not built yet"),
        (["--swap-space", "-4"], "swap_space=-4.0"),
        (["--preemption-mode", "never"], "preemption_mode='never'"),
        (["--enable-lora"], "enable_lora=True is not built yet"),
        (["--port", "70000"], "Port 70000 does not exist"),
        (["--host", "no.such.host.invalid"], "Nothing can listen on no.such.host.invalid"),
        (["--tool-call-parser", "xml"], "tool_format='xml'"),
        (["--allowed-origins", "http://localhost"], "--allowed-origins takes a JSON list"),
        (["some/model", "--model", "some/model"], "The model was named twice"),
        (["--max-n", "0"], "max_n=0"),
        (["--max-model-length", "5"], "Unrecognized arguments: --max-model-length. Did you mean --max-model-len?"),
        (["-tp", "2"], "tensor_parallel_size=2 is not built yet"),
        (["--speculative_config", '{"num": 2}'], "speculative_config={'num': 2} is not built yet"),
        (["--no-enable-chunked-prefill"], "enable_chunked_prefill=False is not built yet"),
        (["--max-logprobs", "100"], "max_logprobs=100 is not built yet"),
        (["--chat-template", "mine.jinja"], "Flag --chat-template='mine.jinja' is not built yet. The model's own"),
        (["--ssl-keyfile", "key.pem"], "Flag --ssl-keyfile='key.pem' is not built yet. Put a proxy"),
        (["--enable-log-outputs"], "Flag --enable-log-outputs=True is not built yet. No text"),
    ],
)
def test_mistakes_are_sentences(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--device", "cpu", *words]) == 2
    shown = capsys.readouterr()
    assert sentence in shown.err and not shown.out


def test_a_port_that_is_taken_costs_no_loading(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", "no/such/model", "--port", str(taken.getsockname()[1])]) == 2
    assert "Nothing can listen on 127.0.0.1" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_the_server_as_a_process_serves_and_stops_by_ctrl_c() -> None:
    command = [sys.executable, "-m", "pagednb.server", "--device", "cpu", "--port", "0", "--served-model-name", "m"]
    environment = {**os.environ, "PAGEDNB_PROGRESS": "0", "PAGEDNB_API_KEY": "k"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            words = process.stdout.readline().split()
            assert words[:3] == ["Serving", "m", "at"]
            body = json.dumps({"prompt": "Hello", "max_tokens": 3}).encode()
            headers = {"Content-Type": "application/json", "Authorization": "Bearer k"}
            request = urllib.request.Request(f"{words[3]}/v1/completions", body, headers)
            with urllib.request.urlopen(request, timeout=20) as answer:
                assert json.load(answer)["usage"]["completion_tokens"] == 3
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (process.returncode, out, err) == (0, "Stopped.\n", "")
