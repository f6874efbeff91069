"""A KeyboardInterrupt that lands in a finaliser, or that only an event loop hears of, is not lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pagednb.engine.core import EngineCore
from pagednb.engine.loop import EngineLoop
from pagednb.interrupts import InterruptedTask, keeping_interrupts


class Dying:
    """Raises when it is collected, as code does that an interrupt lands in."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __del__(self) -> None:
        raise self.error


@pytest.fixture
def heard(monkeypatch):
    """What the process's own hook hears of."""
    heard: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: heard.append(unraisable.exc_type))
    return heard


def test_an_interrupt_dropped_in_the_block_is_raised_after_it(heard):
    with pytest.raises(KeyboardInterrupt), keeping_interrupts():
        Dying(KeyboardInterrupt)
    assert heard == []


def test_python_alone_drops_it(heard):
    Dying(KeyboardInterrupt)
    assert heard == [KeyboardInterrupt]


def test_other_errors_reach_the_hook_that_was_there_and_it_comes_back(heard):
    hook = sys.unraisablehook
    with keeping_interrupts():
        Dying(OSError)
        with keeping_interrupts():
            Dying(ValueError)
    assert heard == [OSError, ValueError]
    assert sys.unraisablehook is hook


def test_an_inner_block_raises_for_the_outer_one_too(heard):
    with pytest.raises(KeyboardInterrupt), keeping_interrupts():
        with keeping_interrupts():
            Dying(KeyboardInterrupt)
        raise AssertionError("the inner block was to raise")


def test_an_error_of_the_block_itself_is_not_replaced(heard):
    with pytest.raises(ZeroDivisionError), keeping_interrupts():
        Dying(KeyboardInterrupt)
        raise ZeroDivisionError


def test_other_threads_leave_the_hook_alone(heard):
    hook, seen = sys.unraisablehook, []

    def look() -> None:
        with keeping_interrupts():
            seen.append(sys.unraisablehook)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [hook]


@contextlib.contextmanager
def quiet_handler() -> Iterator[list[int]]:
    """A handler of SIGINT that raises nothing, as ipykernel's of an awaiting cell; what it hears."""
    heard: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        yield heard
    finally:
        signal.signal(signal.SIGINT, previous)


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)


def in_event_loop(function: Any) -> Any:
    async def call() -> Any:
        return function()

    # without asyncio.Runner, which would put a handler of its own
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(call())
    finally:
        loop.close()


def raised_by(function: Callable[[], object]) -> type[BaseException] | None:
    try:
        function()
    except BaseException as error:  # noqa: BLE001  that is the question
        return type(error)
    return None


def test_an_interrupt_that_only_a_loop_heard_of_is_raised_after_the_block():
    def wait() -> str:
        handler = signal.getsignal(signal.SIGINT)
        try:
            with keeping_interrupts():
                press()
            return "nothing"
        except KeyboardInterrupt:
            return "raised"
        finally:
            assert signal.getsignal(signal.SIGINT) is handler

    with quiet_handler() as heard:
        assert in_event_loop(wait) == "raised"
    assert heard == [signal.SIGINT], "the loop hears of it too"


def test_below_asyncio_run_the_first_interrupt_ends_the_wait():
    async def wait() -> None:
        with keeping_interrupts():
            press()
        raise AssertionError("it was to raise")

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(wait())


def test_a_load_hears_what_comes_while_the_waiting_thread_reads_the_tokenizer():
    def load() -> None:
        is_read = threading.Event()

        def build() -> EngineCore:
            is_read.wait()
            raise AssertionError("nobody wants it any longer")

        def read() -> None:
            press()
            is_read.set()

        EngineLoop().start(build, while_waiting=read)

    with quiet_handler():
        assert in_event_loop(lambda: raised_by(load)) is InterruptedTask


def test_a_task_of_the_loop_ends_as_cancelled_and_the_loop_goes_on():
    """A KeyboardInterrupt would pass through the loop, which in a kernel is the end of the kernel."""

    async def wait() -> None:
        with keeping_interrupts():
            press()
        raise AssertionError("it was to raise")

    async def cell() -> list[bool]:
        tasks = [asyncio.create_task(wait())]
        await asyncio.wait(tasks)
        return [task.cancelled() for task in tasks]

    loop = asyncio.new_event_loop()
    with quiet_handler(), contextlib.closing(loop):
        assert loop.run_until_complete(cell()) == [True]


def test_a_callback_of_the_loop_ends_and_the_loop_goes_on():
    def wait() -> None:
        with keeping_interrupts():
            press()
        raise AssertionError("it was to raise")

    loop = asyncio.new_event_loop()
    ended: list[type[BaseException]] = []
    loop.set_exception_handler(lambda loop, context: ended.append(type(context["exception"])))
    loop.call_soon(wait)
    with quiet_handler(), contextlib.closing(loop):
        loop.run_until_complete(asyncio.sleep(0))
    assert ended == [asyncio.CancelledError]


def test_without_a_loop_the_handler_is_left_alone():
    with quiet_handler() as heard, keeping_interrupts():
        press()
    assert heard == [signal.SIGINT]


def test_a_handler_that_raises_does_so_at_once():
    def wait() -> None:
        with keeping_interrupts():
            press()
            raise AssertionError("it was to raise")

    with pytest.raises(KeyboardInterrupt):
        in_event_loop(wait)
