"""``pagednb run-batch``: OpenAI's batch files, each line answered or told why not, as the server would."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
from typing import Any

import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion

from pagednb.command_line.main import main
from pagednb.llm import LLM
from pagednb.sampling_params import SamplingParams

COMMAND = [sys.executable, "-m", "pagednb", "run-batch", "--device", "cpu"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
CHAT, COMPLETION = "/v1/chat/completions", "/v1/completions"
MESSAGES = [{"role": "user", "content": "What can pagednb do?"}]


def request(custom_id: Any, url: str, **body: Any) -> bytes:
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": body}).encode()


def answers(path: pathlib.Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert all(set(line) == {"id", "custom_id", "response", "error"} for line in lines)
    assert len({line["id"] for line in lines}) == len(lines)
    return lines


def test_a_file_of_good_and_bad_lines(tmp_path: pathlib.Path) -> None:
    schema = {"type": "object", "properties": {"urgent": {"type": "boolean"}}, "required": ["urgent"]}
    form = {"type": "json_schema", "json_schema": {"name": "t", "schema": schema}}
    lines = [
        b"\xef\xbb\xbf" + request("chat", CHAT, messages=MESSAGES, max_tokens=12, temperature=0),
        request("two", COMPLETION, model="mine", prompt=["Hello", "Bye"], max_tokens=3, n=2, seed=1, logprobs=1),
        b"",
        b"{",
        b'{"custom_id": "latin", "method": "\xff"}',
        request("form", CHAT, messages=MESSAGES, max_tokens=30, response_format=form),
        request("field", COMPLETION, prompt="Hello", max_tokenz=3),
        request("other", COMPLETION, prompt="Hello", model="gpt-4o"),
        request("long", COMPLETION, prompt="Hello " * 5000),
        request("stream", CHAT, messages=MESSAGES, stream=True),
        request("nowhere", "/v1/images", prompt="Hello"),
        request("chat", CHAT, messages=MESSAGES),
        request(7, CHAT, messages=MESSAGES),
        b'{"custom_id": "get", "method": "GET", "url": "/v1/completions", "body": {}}',
    ]
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(b"\r\n".join(lines))
    command = [*COMMAND, "-i", source, "-o", output, "--served-model-name", "mine"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=ENVIRONMENT)
    assert done.returncode == 0 and not done.stdout, done.stderr
    assert "13 lines in" in done.stderr and "10 of them failed" in done.stderr
    found = answers(output)
    assert len(found) == 13
    good = {line["custom_id"]: line["response"] for line in found if (line["response"] or {}).get("status_code") == 200}
    assert set(good) == {"chat", "two", "form"} and all(response["request_id"] for response in good.values())
    check_answers(good)
    told = {line["custom_id"]: line["response"] for line in found if (line["response"] or {}).get("status_code") != 200}
    statuses = {name: response["status_code"] for name, response in told.items() if response}
    assert statuses == {"field": 400, "other": 404, "long": 400, "stream": 400}
    assert told["field"]["body"]["error"]["param"] == "max_tokenz"
    assert told["long"]["body"]["error"]["code"] == "context_length_exceeded"
    errors = [(line["custom_id"], line["error"]["code"]) for line in found if line["error"]]
    expected = [("chat", "duplicate_custom_id"), ("get", "invalid_line"), ("nowhere", "invalid_line")]
    assert sorted(map(str, errors)) == sorted(map(str, [*expected, *[(None, "invalid_line")] * 3]))
    assert any("Line 4:" in line["error"]["message"] for line in found if line["error"])


def check_answers(good: dict[str, Any]) -> None:
    """OpenAI's own types read the answers, and the text is what the engine says when asked directly."""
    chat = ChatCompletion.model_validate(good["chat"]["body"])
    with LLM(device="cpu", num_gpu_blocks_override=200) as llm:
        (alone,) = llm.chat(MESSAGES, SamplingParams(temperature=0, max_tokens=12), use_tqdm=False)
    assert chat.choices[0].message.content == alone.outputs[0].text
    two = Completion.model_validate(good["two"]["body"])
    assert [choice.index for choice in two.choices] == [0, 1, 2, 3] and two.usage is not None
    assert two.usage.completion_tokens == 12
    form = ChatCompletion.model_validate(good["form"]["body"])
    assert isinstance(json.loads(form.choices[0].message.content or "")["urgent"], bool)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["-i", "none.jsonl", "-o", "out.jsonl"], "There is no file 'none.jsonl'"),
        (["-i", "in.jsonl", "-o", "in.jsonl"], "The output is the input itself"),
        (["-i", "in.jsonl", "-o", "there.jsonl"], "is there already"),
        (["-i", "in.jsonl"], "The following arguments are required: -o/--output"),
    ],
)
def test_mistakes_cost_no_loading(
    words: list[str],
    sentence: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("in.jsonl", "there.jsonl"):
        (tmp_path / name).write_text("kept")
    assert main(["run-batch", *words, "--model", "./no-such-model"]) == 2
    shown = capsys.readouterr()
    assert sentence in shown.err and len(shown.err.splitlines()) == 1 and not shown.out
    assert {path.read_text() for path in tmp_path.iterdir()} == {"kept"}


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_interrupt_keeps_what_is_done(tmp_path: pathlib.Path) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    lines = [request("short", COMPLETION, prompt="Hello", max_tokens=1)]
    lines += [request(f"l{i}", COMPLETION, prompt="Hi", max_tokens=400, ignore_eos=True) for i in range(3000)]
    source.write_bytes(b"\n".join(lines))
    command = [*COMMAND, "-i", source, "-o", output]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=ENVIRONMENT) as process:
        assert process.stderr is not None
        seen = b""
        while b" 1/3001" not in seen:
            seen += (piece := os.read(process.stderr.fileno(), 1000))
            assert piece, seen
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert b"interrupted" in errors and b"Traceback" not in errors and b"lines in" in errors
    assert "short" in [line["custom_id"] for line in answers(output)]
