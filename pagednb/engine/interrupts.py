"""Interrupts that Python would lose.

A KeyboardInterrupt that arrives while the main thread runs a finaliser or the callback of a weak reference, which the
garbage collector may start anywhere, is printed and dropped: the cell runs on as if nobody had pressed Stop.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def keeping_interrupts() -> Iterator[None]:
    """Raise, at the end of the block, a KeyboardInterrupt that was dropped in it.

    For the main thread, where interrupts arrive; on others it does nothing. The process's hook for unraisable
    exceptions is borrowed for the block, which must be short (a slice of waiting), and hears of all else as before.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = sys.unraisablehook
    lost: list[type[BaseException]] = []

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
    if lost:
        raise KeyboardInterrupt
