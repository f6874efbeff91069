"""The routes' only way to the engine: admits requests, hands them over, and ends them all when the server stops."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import itertools
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.types import Receive

from pagednb.errors import PagednbError
from pagednb.request import Pooling
from pagednb.sampling_params import SamplingParams
from pagednb.server.api_error import RETRY_AFTER, TOO_MANY, UNAVAILABLE, ApiError, as_api_error, stopping
from pagednb.server.figures import Figures
from pagednb.server.prompts import TokenIds
from pagednb.server.served_call import ServedCall
from pagednb.server.settings import ServerSettings
from pagednb.server.switchboard import Switchboard

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine

T = TypeVar("T")
LOOK_S = 0.5
"""How often the desk looks whether the engine lives."""

NUM_THREADS = 4
"""Threads that encode long texts, lay out long chats and compile constraints: work that would stop all streams."""

MAX_APART = 1024
"""Pieces of that work that may wait."""


class Desk:
    """Open between ``opened``'s begin and end, on the event loop that it was opened on.

    Attributes:
        num_sequences: sequences under way.
        figures: what Prometheus is told.
        half_sent: tasks whose requests have not been read to their ends.
    """

    def __init__(self, engine: LLMEngine, settings: ServerSettings) -> None:
        self.engine = engine
        self.settings = settings
        self.num_sequences = 0
        self._num_apart = 0
        self.figures = Figures(engine, settings.served_model_names[0])
        self._id_prefix = secrets.token_hex(8)
        self._id_numbers = itertools.count()
        self.half_sent: set[asyncio.Task[Any]] = set()
        self._calls: dict[ServedCall, int] = {}  # with their numbers of sequences
        self._switchboard: Switchboard | None = None
        self._threads: concurrent.futures.ThreadPoolExecutor | None = None

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Serve calls inside the block; whoever still waits at its end is told."""
        self._switchboard = Switchboard(asyncio.get_running_loop())
        self._threads = concurrent.futures.ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="pagednb-serve")
        watch = asyncio.ensure_future(self._watch_engine())
        try:
            yield
        finally:
            watch.cancel()
            self.end_all()
            self._threads.shutdown(wait=True, cancel_futures=True)
            self._threads = None

    def new_id(self) -> str:
        """Return an id for an answer; counted, since random numbers are a call into the kernel each time."""
        return f"{self._id_prefix}{next(self._id_numbers):08x}"

    async def apart(self, function: Callable[[], T]) -> T:
        """Run what takes long on another thread and return its result.

        Raises:
            ApiError: too much waits for that already, or the server stops.
            Exception: what ``function`` raises.
        """
        if self._threads is None:
            raise stopping()
        if self._num_apart >= MAX_APART:
            raise self._full(f"{self._num_apart:,} requests wait to be read.")
        self._num_apart += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function)
        finally:
            self._num_apart -= 1

    async def submit(
        self,
        receive: Receive,
        prompts: Sequence[TokenIds],
        params: SamplingParams,
        *,
        stream: bool = False,
        priority: int | None = None,
        pooling: Pooling | None = None,
    ) -> ServedCall:
        """Hand prompts to the engine and return the call, which must be given back to ``close``.

        Lower priorities run first. Under ``pooling`` outputs bring embeddings and nothing else.

        Raises:
            ApiError: what cannot be run, too much is under way, or the engine is gone; nothing is left of it.
        """
        num_sequences = len(prompts) * params.num_sequences
        call = self._admit(num_sequences, stream=stream, priority=priority or 0, pooling=pooling)
        try:
            call.watch(receive)
            if params.constraint is not None:
                await self.apart(lambda: self.engine.compile_constraint(params))
            call.submit(prompts, params)
        except PagednbError as error:
            self.close(call)
            raise as_api_error(error) from None
        except BaseException:  # cancelled: the server stops
            self.close(call)
            raise
        return call

    def close(self, call: ServedCall) -> None:
        """Take a call off the books and abort what is left of it. Safe to call twice."""
        self.num_sequences -= self._calls.pop(call, 0)
        call.close()

    def end_all(self) -> None:
        """Take nothing new, and tell everyone who waits that the server stops."""
        self._switchboard = None
        for call in self._calls:
            call.end(stopping())
        for task in self.half_sent:  # their clients may never send the rest
            task.cancel()

    @property
    def is_closed(self) -> bool:
        """Whether nothing new is taken."""
        return self._switchboard is None

    async def _watch_engine(self) -> None:
        """End calls that the engine never heard of, because it ended in between."""
        while True:
            await asyncio.sleep(LOOK_S)
            if self.engine.is_over:
                for call in self._calls:
                    call.end(ApiError("The engine is gone.", status=UNAVAILABLE, code="engine_unavailable"))

    def _admit(self, num_sequences: int, **options: Any) -> ServedCall:
        if self._switchboard is None:
            raise stopping()
        limit = self.settings.max_sequences
        if num_sequences > limit:
            raise ApiError(f"The request asks for {num_sequences:,} sequences; at most {limit:,} may be under way.")
        if self.num_sequences + num_sequences > limit:
            raise self._full(f"{self.num_sequences:,} sequences are under way, and at most {limit:,} may be.")
        try:
            call = ServedCall(self.engine, self._switchboard, self.figures, **options)
        except PagednbError as error:
            raise as_api_error(error) from None
        self._calls[call] = num_sequences
        self.num_sequences += num_sequences
        return call

    def _full(self, reason: str) -> ApiError:
        self.figures.record_refusal()
        message = f"{reason} Try again in a moment."
        return ApiError(message, status=TOO_MANY, code="queue_full", headers=RETRY_AFTER)
