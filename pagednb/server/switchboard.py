"""Carries the engine thread's news to the event loop: one wake-up for all that a step brings, or less.

The event loop shares the interpreter lock with the engine's launches. After a round of news that kept it busy for a
while it rests for as long, so that under load several steps' news come together and the engine has half of the time at
least. A round for one chat takes a fraction of a millisecond, and rests nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque

from pagednb.server.bell import Bell

MIN_REST_S = 0.001
"""Rounds shorter than this are not rested for: the loop's timers are no finer."""

MAX_REST_S = 0.05


class Switchboard:
    """``ring`` is called on the engine thread, everything else happens on ``loop``."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.num_rounds = 0
        self._loop = loop
        self._bells: deque[Bell] = deque()
        self._is_round_due = False

    def ring(self, bell: Bell) -> None:
        """Wake somebody up in the next round. Never raises and never waits: the engine thread calls it."""
        self._bells.append(bell)
        if not self._is_round_due:
            self._is_round_due = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any longer
                self._loop.call_soon_threadsafe(self._round)

    def _round(self) -> None:
        begin_s = time.perf_counter()
        self.num_rounds += 1
        rung: dict[Bell, None] = {}
        while self._bells:
            rung[self._bells.popleft()] = None
        for bell in rung:
            bell.ring()
        # whoever was woken runs before this: the loop keeps to the order
        self._loop.call_soon(self._end_round, begin_s)

    def _end_round(self, begin_s: float) -> None:
        busy_s = time.perf_counter() - begin_s
        if busy_s > MIN_REST_S:
            self._loop.call_later(min(busy_s, MAX_REST_S), self._open)
        else:
            self._open()

    def _open(self) -> None:
        """Take rings again; those that came meanwhile get their round."""
        self._is_round_due = False
        if self._bells and not self._is_round_due:
            self._is_round_due = True
            self._loop.call_soon(self._round)
