"""A KeyboardInterrupt that lands in a finaliser is not lost."""

from __future__ import annotations

import sys
import threading

import pytest

from pagednb.engine.interrupts import keeping_interrupts


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
