"""What one waiting coroutine is woken up by, from the engine thread or from the event loop."""

from __future__ import annotations

import asyncio


class Bell:
    """Heard by one coroutine, which calls ``arm`` before it looks for what it waits for, and ``heard`` if not there."""

    def __init__(self) -> None:
        self._waiter: asyncio.Future[None] | None = None

    def arm(self) -> None:
        """From now on a wake-up counts."""
        self._waiter = asyncio.get_running_loop().create_future()

    async def heard(self) -> None:
        """Wait for a wake-up since ``arm``."""
        assert self._waiter is not None
        await self._waiter

    def wake_up(self) -> None:
        """Wake who waits; on the event loop."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
