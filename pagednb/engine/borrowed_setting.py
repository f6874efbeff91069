"""A setting of the whole process that has another value while somebody works, and then what it was again."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

Value = TypeVar("Value")


class BorrowedSetting(Generic[Value]):
    """A context for the time of work; several threads may be inside at once, the last to leave puts things back.

    ``adapt`` makes the value for work from the usual one. What somebody else sets meanwhile stays. A process forked
    meanwhile, which has none of the threads inside, gets the usual one.
    """

    def __init__(
        self, get: Callable[[], Value], put: Callable[[Value], object], adapt: Callable[[Value], Value]
    ) -> None:
        self._get, self._put, self._adapt = get, put, adapt
        self._lock = threading.Lock()
        self._num_inside = 0
        self._usual_and_ours: tuple[Value, Value] | None = None  # None while nothing is changed
        self._minds_forks = False

    def __enter__(self) -> None:
        with self._lock:
            self._num_inside += 1
            self._mind_forks()
            usual = self._get()
            if self._num_inside == 1 and self._adapt(usual) != usual:
                self._put(self._adapt(usual))
                self._usual_and_ours = usual, self._get()  # Python may keep something near to what it was given

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._num_inside -= 1
            if self._num_inside == 0:
                self._put_back()

    def _put_back(self) -> None:
        if self._usual_and_ours is not None:
            usual, ours = self._usual_and_ours
            if self._get() == ours:
                self._put(usual)
            self._usual_and_ours = None

    def _mind_forks(self) -> None:
        if not self._minds_forks and sys.platform != "win32":  # where there are none
            os.register_at_fork(after_in_child=self._start_again)
            self._minds_forks = True

    def _start_again(self) -> None:
        self._lock, self._num_inside = threading.Lock(), 0
        self._put_back()
