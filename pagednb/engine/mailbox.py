"""Where the engine thread leaves news for one waiting call.

Built on ``queue.SimpleQueue``: its ``put`` and ``get`` are atomic, so an interrupt that hits the waiting thread can
never leave a lock taken that the engine thread needs (a ``Condition`` could), and all news of a step costs one put.
"""

from __future__ import annotations

import dataclasses
import queue
from collections.abc import Callable, Sequence

from pagednb.errors import PagednbError
from pagednb.request import RequestUpdate

WAIT_SLICE_S = 0.1
"""Longest uninterrupted wait of a caller's thread, so that Ctrl-C works on every platform."""

GIVE_UP_WAIT_S = 0.3
"""Longest that an interrupted caller waits for what it gave up to be freed."""


@dataclasses.dataclass(frozen=True, slots=True)
class News:
    """What one step brought the requests of a call, and when (``time.perf_counter``)."""

    time_s: float
    updates: Sequence[RequestUpdate]


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """All requests of the call are lost."""

    error: PagednbError


@dataclasses.dataclass(frozen=True, slots=True)
class AbortAcknowledged:
    """Aborted requests are out of the scheduler and their blocks are free."""


Letter = News | Failure | AbortAcknowledged


class Mailbox:
    """Letters from the engine thread to one call, in order."""

    def __init__(self) -> None:
        self._letters: queue.SimpleQueue[Letter] = queue.SimpleQueue()

    def put(self, letter: Letter) -> None:
        """Leave a letter; never blocks."""
        self._letters.put(letter)

    def take(self, timeout_s: float) -> list[Letter]:
        """Return all letters that are there, waiting up to ``timeout_s`` (at most one slice) for the first."""
        timeout_s = min(timeout_s, WAIT_SLICE_S)
        letters: list[Letter] = []
        try:
            letters.append(self._letters.get(timeout=timeout_s) if timeout_s > 0 else self._letters.get_nowait())
            while True:
                letters.append(self._letters.get_nowait())
        except queue.Empty:
            return letters


class NotifyingMailbox(Mailbox):
    """Calls ``notify`` on the engine thread after each letter, for callers that cannot sleep here.

    ``notify`` must be quick and must not raise.
    """

    def __init__(self, notify: Callable[[], None]) -> None:
        super().__init__()
        self._notify = notify

    def put(self, letter: Letter) -> None:
        """Leave a letter and say so."""
        super().put(letter)
        self._notify()
