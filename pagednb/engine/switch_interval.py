"""Shorter turns at the interpreter lock while an engine works.

A thread that computes in pure Python gives the lock away only after Python's switch interval, 5 ms. A step of the
engine takes the lock back after each of a dozen calls into torch, so one busy cell would slow a chat down tenfold. The
interval belongs to the whole process: it is shortened only while an engine has work, and put back afterwards unless
somebody else has set it meanwhile.
"""

from __future__ import annotations

import math
import sys
import threading
from types import TracebackType

SHORT_INTERVAL_S = 0.0001


class ShortTurns:
    """A context for the time of work; several threads may be inside at once, the last to leave puts things back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_inside = 0
        self._usual_s: float | None = None  # what to put back; None while nothing was changed

    def __enter__(self) -> None:
        with self._lock:
            self._num_inside += 1
            if self._num_inside == 1 and sys.getswitchinterval() > SHORT_INTERVAL_S:
                self._usual_s = sys.getswitchinterval()
                sys.setswitchinterval(SHORT_INTERVAL_S)

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._num_inside -= 1
            if self._num_inside == 0 and self._usual_s is not None:
                if math.isclose(sys.getswitchinterval(), SHORT_INTERVAL_S):  # Python keeps whole microseconds
                    sys.setswitchinterval(self._usual_s)
                self._usual_s = None


SHORT_TURNS = ShortTurns()
"""The process has one interval, so there is one keeper of it."""
