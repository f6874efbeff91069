"""Interrupts: those that would be lost, or heard too late, and what a user reads of them.

A KeyboardInterrupt that arrives while the main thread runs a finaliser or the callback of a weak reference, which the
garbage collector may start anywhere, is printed and dropped: the cell runs on as if nobody had pressed Stop. And in a
cell that awaits anything, as below ``asyncio.run``, SIGINT only tells the event loop to cancel the cell, which the loop
cannot do while the cell waits for the engine instead of awaiting it.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any


class InterruptedTask(KeyboardInterrupt, asyncio.CancelledError):
    """A KeyboardInterrupt for a task of an event loop: asyncio takes it for the task's cancellation.

    A plain one would pass through the loop and end it, which in a kernel is the end of the kernel.
    """


InterruptedTask.__name__ = KeyboardInterrupt.__name__  # what notebooks show, and tell their front ends


@contextlib.contextmanager
def keeping_interrupts() -> Iterator[None]:
    """Raise, at the end of the block, a KeyboardInterrupt that was dropped in it or that only an event loop heard of.

    In a task of that loop it is an ``InterruptedTask``; in a callback, which no task awaits, a CancelledError.
    For the main thread, where interrupts arrive; on others it does nothing. The process's hook for unraisable
    exceptions, and such a handler of SIGINT, are borrowed for the block, which must be short (a slice of waiting) and
    await nothing; they hear of everything as before.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    lost: list[type[BaseException]] = []
    with _noting_drops(lost), _noting_cancellations(lost):
        yield
    if lost:
        raise lost[0]


@contextlib.contextmanager
def _noting_drops(lost: list[type[BaseException]]) -> Iterator[None]:
    previous = sys.unraisablehook

    def note(unraisable: Any) -> None:
        if unraisable.exc_type is KeyboardInterrupt:
            lost.append(unraisable.exc_type)
        else:
            previous(unraisable)

    sys.unraisablehook = note
    try:
        yield
    finally:
        sys.unraisablehook = previous


@contextlib.contextmanager
def _noting_cancellations(lost: list[type[BaseException]]) -> Iterator[None]:
    previous = signal.getsignal(signal.SIGINT)
    if not callable(previous) or previous is signal.default_int_handler or not _is_in_event_loop():
        yield
        return

    def note(signal_number: int, frame: Any) -> None:
        lost.append(_what_loops_survive())  # raised here it could skip the line below that gives the handler back
        previous(signal_number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _is_in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _what_loops_survive() -> type[BaseException]:
    """Return what ends the code that runs in the event loop, but not the loop."""
    return asyncio.CancelledError if asyncio.current_task() is None else InterruptedTask


def show_note(interrupt: BaseException, note: str) -> None:
    """Add a note, and have IPython show it instead of a stack whose formatting can take longer than the interrupt.

    ``interrupt`` is a KeyboardInterrupt, or the CancelledError that an awaited cell gets.
    """
    interrupt.add_note(note)
    interrupt._render_traceback_ = lambda: [f"{type(interrupt).__name__}: {note}"]  # type: ignore[attr-defined]
