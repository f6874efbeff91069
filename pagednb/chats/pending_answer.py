"""Waiting for an answer on the thread that asked, so that an interrupt or a cancelled task ends both."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Generator
from typing import Any

from pagednb.chats.turn import Turn
from pagednb.interrupts import keeping_interrupts, show_note

POLL_S = 0.1
"""A kernel can interrupt an awaited cell only when its event loop wakes up."""


class PendingAnswer:
    """An answer that has not come yet: ``wait()`` for it, or ``await`` it. ``stop`` ends it early."""

    def __init__(self, stop: Callable[[], object]) -> None:
        self._stop = stop
        self._turn: concurrent.futures.Future[Turn] = concurrent.futures.Future()
        self._turn.set_running_or_notify_cancel()

    def settle(self, turn: Turn, error: BaseException | None = None) -> None:
        """The answer is there, as far as it will ever be; an ``error`` goes to whoever waits."""
        if error is None:
            self._turn.set_result(turn)
        else:
            # the frames of the thread that answered would keep the engine alive for as long as the error is kept
            self._turn.set_exception(error.with_traceback(None))

    def wait(self) -> Turn:
        """Return the answer, complete or stopped. An interrupt stops it, within half a second, and passes through.

        Raises:
            PagednbError: what went wrong; the turn says so, too.
        """
        try:
            while not self._turn.done():
                with keeping_interrupts():
                    concurrent.futures.wait([self._turn], timeout=POLL_S)
        except BaseException as error:
            self._stop()
            if isinstance(error, KeyboardInterrupt):
                show_note(error, "what came of the answer stays in the chat.")
            raise
        return self._turn.result()

    def __await__(self) -> Generator[Any, None, Turn]:
        return self._awaited().__await__()

    async def _awaited(self) -> Turn:
        waker = asyncio.wrap_future(self._turn)
        waker.add_done_callback(_look)
        try:
            while not self._turn.done():
                await asyncio.wait({waker}, timeout=POLL_S)
        except BaseException:
            self._stop()
            raise
        return self._turn.result()


def _look(future: asyncio.Future[Turn]) -> None:
    """Take note of an error, which asyncio would print otherwise; ``result`` raises it."""
    if not future.cancelled():
        future.exception()
