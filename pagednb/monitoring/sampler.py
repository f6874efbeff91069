"""The thread of an open monitor: looks at the engine, shows what it saw, and waits so long that it costs nothing.

A guest: a daemon thread that prints nothing and ends when it is told to, or when there is nothing left to look at.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

MIN_INTERVAL_S = 0.25
"""Four pictures a second are as live as eyes ask for."""
IDLE_INTERVAL_S = 1.0
"""An engine without work is woken by each look."""
MAX_SHARE = 0.0075
"""Of the time, at most, for the engine thread's part of a look and this thread's own taken together."""
MAX_BYTES_PER_S = 100_000
"""Sent to the browser on average; Jupyter servers drop messages of kernels that send a million."""
JOIN_S = 1.0


class Look(NamedTuple):
    """What one look cost: the engine thread's time, bytes sent; and whether the engine had work."""

    engine_s: float
    num_bytes: int
    is_working: bool


class Sampler:
    """Calls ``look`` again and again on a thread of its own, until that returns None or ``stop`` is called."""

    def __init__(self, look: Callable[[], Look | None]) -> None:
        self._look = look
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pagednb-monitor", daemon=True)
        self.error: Exception | None = None  # what ended it, if it was not told to end

    @property
    def is_running(self) -> bool:
        """Whether the thread lives and was not told to end."""
        return self._thread.is_alive() and not self._stopping.is_set()

    def start(self) -> None:
        """Start the thread; once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it. Safe to call twice, and from the thread itself."""
        self._stopping.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(JOIN_S)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                begin_s = time.thread_time()
                look = self._look()
                if look is None:
                    return
                self._stopping.wait(interval_s(look, own_s=time.thread_time() - begin_s))
        except Exception as error:  # noqa: BLE001  (thread boundary: a traceback would land in somebody's cell)
            self.error = error


def interval_s(look: Look, *, own_s: float) -> float:
    """Return how long to wait after a look that took ``own_s`` seconds of this thread's time."""
    shortest = MIN_INTERVAL_S if look.is_working else IDLE_INTERVAL_S
    return max(shortest, (look.engine_s + own_s) / MAX_SHARE, look.num_bytes / MAX_BYTES_PER_S)
