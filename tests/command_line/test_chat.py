"""``pagednb chat``: by pipe, in a terminal with its keys, and stopped in the middle of an answer."""

from __future__ import annotations

import io
import os
import pathlib
import pty
import select
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from support.tiny_models import tiny_model

from pagednb.command_line.main import main
from pagednb.command_line.terminal_chat import TerminalChat
from pagednb.llm import LLM

COMMAND = [sys.executable, "-m", "pagednb", "chat", "--device", "cpu", "--temperature", "0"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PAGEDNB_PROGRESS": "0"}
QUESTION = "What can pagednb do?"
# a process of its own whose controlling terminal is its standard input
IN_TERMINAL = "import os, sys; os.close(os.open(os.ttyname(0), os.O_RDWR)); os.execv(sys.executable, sys.argv[1:])"


def test_lines_from_a_pipe_are_answered() -> None:
    lines = [QUESTION, "", "/system Be brief.", "/rset", "/exit", "never asked"]
    done = subprocess.run(
        COMMAND, input="\n".join(lines), capture_output=True, text=True, check=False, timeout=120, env=ENVIRONMENT
    )
    assert (done.returncode, done.stderr) == (0, "")
    answer, *others = done.stdout.splitlines()
    assert "language model engine" in answer
    assert others == ["A new conversation, with instructions.", "There is no /rset. Did you mean /reset?"]


@pytest.mark.skipif(sys.platform == "win32", reason="terminals")
def test_in_a_terminal_ctrl_c_stays_and_ctrl_d_leaves() -> None:
    master, slave = pty.openpty()
    command = [sys.executable, "-c", IN_TERMINAL, *COMMAND]
    process = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, env={**ENVIRONMENT, "TERM": "dumb"}
    )
    os.close(slave)
    try:
        read_until(master, b"/exit leaves.\n> ")
        press_ctrl_c_until(master, b"Ctrl-D or /exit leaves.\n> ")
        os.write(master, f"{QUESTION}\n".encode())
        assert b"notebook" in read_until(master, b".\n> ")
        os.write(master, b"\x04")
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(master)


def press_ctrl_c_until(master: int, end: bytes) -> None:
    """Once, or again: a signal between Python's prompt and its wait for keys is heard with the next key only."""
    seen = b""
    for _ in range(12):
        os.write(master, b"\x03")
        while select.select([master], [], [], 5)[0]:
            seen += os.read(master, 1000).replace(b"\r", b"")
            if seen.endswith(end):
                return
    pytest.fail(f"it does not hear Ctrl-C: {seen!r}")


def read_until(master: int, end: bytes) -> bytes:
    """What the terminal shows until ``end``, which must be the last of it."""
    seen = b""
    while not seen.endswith(end):
        assert select.select([master], [], [], 60)[0], seen
        seen += os.read(master, 1000).replace(b"\r", b"")
    return seen


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    with LLM(device="cpu", num_gpu_blocks_override=200) as llm:
        yield llm


class Screen(io.StringIO):
    """Presses Ctrl-C when so many characters of an answer are there."""

    def __init__(self, stop_at: int) -> None:
        super().__init__()
        self._stop_at = stop_at

    def write(self, text: str) -> int:
        written = super().write(text)
        if self._stop_at and len(self.getvalue()) >= self._stop_at:
            self._stop_at = 0
            raise KeyboardInterrupt
        return written


def talk(llm: LLM, lines: list[str], out: io.StringIO, *, is_terminal: bool = False, **params: object) -> TerminalChat:
    chat = TerminalChat(
        llm.engine,
        llm.engine.default_sampling_params(**{"temperature": 0, **params}),
        system=None,
        read=reader(lines),
        out=out,
        is_terminal=is_terminal,
    )
    chat.run()
    return chat


def reader(lines: list[str]) -> Callable[[str], str]:
    left = iter(lines)

    def read(prompt: str) -> str:
        try:
            return next(left)
        except StopIteration:
            raise EOFError from None

    return read


def test_a_stopped_answer_stays_and_the_chat_goes_on(llm: LLM) -> None:
    out = Screen(stop_at=30)
    chat = talk(llm, [QUESTION, "/help", "Hello"], out, max_tokens=120, ignore_eos=True)
    _, stopped, *rest = chat.messages
    assert 25 <= len(stopped["content"]) < 100 and "[stopped]" in out.getvalue()
    assert [message["role"] for message in rest] == ["user", "assistant"] and len(rest[1]["content"]) > 100
    assert "/reset" in out.getvalue()
    llm.engine.check_integrity()


def test_an_answer_stopped_before_its_first_word_is_no_turn(llm: LLM) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    out = io.StringIO()
    chat = talk(llm, [], out)
    chat._stream = interrupted  # type: ignore[method-assign]
    chat._answer(QUESTION)
    assert chat.messages == [] and "[stopped]" in out.getvalue()


def test_commands_change_what_the_model_is_told(llm: LLM) -> None:
    out = io.StringIO()
    chat = talk(llm, ["Hello", "/system Be kind.", "Hello", "/reset"], out, max_tokens=5)
    assert chat.messages == [{"role": "system", "content": "Be kind."}]
    assert talk(llm, ["/system x", "/system", "/unheard"], out).messages == []
    assert "There is no /unheard. /help lists all." in out.getvalue()


def test_what_is_too_long_is_said_and_forgotten(llm: LLM) -> None:
    out = io.StringIO()
    chat = talk(llm, ["word " * 20_000, "/etc/hosts is a file"], out, max_tokens=5)
    assert "/reset begins again." in out.getvalue()
    assert [message["content"] for message in chat.messages][:1] == ["/etc/hosts is a file"]


def test_control_characters_of_a_model_stay_off_the_terminal(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    chat = talk(llm, [], out)
    chat._show([("thinking", "hidden"), ("answer", "a\x1b]0;owned\x07b\x9b31m\tc\n")], [])  # type: ignore[list-item]
    assert out.getvalue() == "a]0;ownedb31m\tc\n"


def test_a_model_without_template_is_refused(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_model("qwen3", tmp_path)
    assert main(["chat", str(tmp_path), "--device", "cpu"]) == 2
    assert "chat template" in capsys.readouterr().err
