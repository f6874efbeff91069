"""An import goes on behind an interrupt, and is never run twice."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from pagednb.whole_import import import_whole

NAME = "pagednb_test_slow_module"
BODY = """
import threading
state = threading.state_of_the_test
state.runs.append(threading.current_thread())
state.begun.set()
assert state.may_end.wait(30)
is_whole = True
"""

LOAD = """
import os, signal, sys, threading, time
import pagednb

def stop():
    while "torch" not in sys.modules:
        time.sleep(0.001)
    time.sleep(0.05)  # a torn import of torch ends in many ways, none of them good
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=stop).start()
try:
    pagednb.load(device="cpu")
except KeyboardInterrupt:
    print("stopped,", pagednb.load(device="cpu"))
"""


class State:
    def __init__(self) -> None:
        self.runs: list[threading.Thread] = []
        self.begun = threading.Event()
        self.may_end = threading.Event()


@pytest.fixture
def state(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[State]:
    made = State()
    (tmp_path / f"{NAME}.py").write_text(BODY)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(threading, "state_of_the_test", made, raising=False)
    yield made
    made.may_end.set()
    sys.modules.pop(NAME, None)


def test_an_interrupt_ends_the_waiting_and_not_the_import(state: State) -> None:
    def interrupt() -> None:
        assert state.begun.wait(30)
        os.kill(os.getpid(), signal.SIGINT)

    button = threading.Thread(target=interrupt)
    button.start()
    with pytest.raises(KeyboardInterrupt):
        import_whole(NAME)
    button.join()
    state.may_end.set()
    assert import_whole(NAME).is_whole
    assert len(state.runs) == 1
    assert state.runs[0] is not threading.main_thread()


def test_other_threads_import_as_ever(state: State) -> None:
    state.may_end.set()
    thread = threading.Thread(target=import_whole, args=[NAME])
    thread.start()
    thread.join()
    assert state.runs == [thread]


def test_what_an_import_raises_is_raised() -> None:
    with pytest.raises(ModuleNotFoundError, match="pagednb_no_such_module"):
        import_whole("pagednb_no_such_module")


def test_stop_while_torch_is_imported() -> None:
    script = subprocess.run([sys.executable, "-c", LOAD], check=False, capture_output=True, text=True, timeout=120)
    assert script.stdout.startswith("stopped, LLM('pagednb/embedded'"), script.stderr
