"""What one waiting coroutine is woken up by, for news from the engine thread or from the event loop."""

from __future__ import annotations

import asyncio


class Bell:
    """Used on the event loop. A ring is heard once, also by who comes to listen after it."""

    def __init__(self) -> None:
        self._is_rung = False
        self._listener: asyncio.Future[None] | None = None

    async def heard(self) -> None:
        """Wait for a ring since this was called last; one coroutine at a time."""
        if not self._is_rung:
            self._listener = asyncio.get_running_loop().create_future()
            await self._listener
        self._is_rung = False

    def ring(self) -> None:
        """Wake who listens, or will."""
        self._is_rung = True
        if self._listener is not None and not self._listener.done():
            self._listener.set_result(None)
