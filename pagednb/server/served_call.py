"""One HTTP request's share of the engine: handed over, awaited, and given up when the client is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from starlette.types import Receive

from pagednb.engine.mailbox import NotifyingMailbox
from pagednb.engine.token_masks import NOTHING_LEFT
from pagednb.errors import PagednbError
from pagednb.outputs import RequestOutput
from pagednb.request import Pooling
from pagednb.sampling_params import SamplingParams
from pagednb.server.api_error import FAILED, ApiError, as_api_error
from pagednb.server.bell import Bell
from pagednb.server.prompts import TokenIds
from pagednb.server.usage import Usage

if TYPE_CHECKING:
    from pagednb.engine.call import Call
    from pagednb.engine.llm_engine import LLMEngine
    from pagednb.server.figures import Figures
    from pagednb.server.switchboard import Switchboard


class ClientGoneError(Exception):
    """Nobody is left to answer."""


class ServedCall:
    """Outputs are keyed by the number of their prompt; of a stream they hold only what is new.

    ``usage`` counts what has come so far. Used from the event loop. ``close`` must be called whatever happens; it frees
    the blocks of what is still running, at once.
    """

    def __init__(
        self,
        engine: LLMEngine,
        switchboard: Switchboard,
        figures: Figures,
        *,
        stream: bool,
        priority: int,
        pooling: Pooling | None,
    ) -> None:
        self._bell = bell = Bell()
        mailbox = NotifyingMailbox(lambda: switchboard.ring(bell))  # not of self: such a circle outlives the call
        self._call: Call[int] = engine.open_call(
            stream=stream, deltas=stream, returns_prompts=False, mailbox=mailbox, priority=priority, pooling=pooling
        )
        self._is_pooled = pooling is not None
        self.usage = Usage()
        self._figures = figures
        self._num_prompt_tokens: list[int] = []
        self._num_generated: list[int] = []
        self._watch: asyncio.Task[None] | None = None
        self._end: Exception | None = None

    @property
    def is_pending(self) -> bool:
        """Whether outputs are still to come."""
        return self._call.num_pending > 0

    def submit(self, prompts: Sequence[TokenIds], params: SamplingParams) -> None:
        """Check the prompts and hand them to the engine; a constraint should be compiled by now.

        Raises:
            PagednbError: what cannot be run; the others may be under way, and end with ``close``.
        """
        self._num_prompt_tokens = [len(prompt) for prompt in prompts]
        self._num_generated = [0] * len(prompts)
        self.usage.num_prompt_tokens = sum(self._num_prompt_tokens)
        refused = self._call.offer([(index, prompt, params) for index, prompt in enumerate(prompts)])
        if refused:
            raise refused[0][1]

    def watch(self, receive: Receive) -> None:
        """Notice from now on when the client hangs up."""

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            self.end(ClientGoneError())

        self._watch = asyncio.ensure_future(watch())

    def end(self, error: Exception) -> None:
        """Let whoever waits for news get ``error`` in their place."""
        self._end = error
        self._bell.ring()

    async def news(self) -> list[tuple[int, RequestOutput]]:
        """Return outputs that became complete, or of a stream what is new; none when none is pending.

        Raises:
            ApiError: the engine failed or broke an answer off, or the server stops.
            ClientGoneError: the client hung up.
        """
        while self._end is None and self.is_pending:
            await self._bell.heard()
            try:
                outputs = self._call.poll(0)
            except PagednbError as error:
                raise as_api_error(error) from None
            if outputs:
                self._count(outputs)
                _refuse_broken(outputs)
                return outputs
        if self._end is not None:
            raise self._end
        return []

    def _count(self, outputs: Sequence[tuple[int, RequestOutput]]) -> None:
        for index, output in outputs:
            num_new = 0 if self._is_pooled else sum(len(completion.token_ids) for completion in output.outputs)
            self._num_generated[index] += num_new
            self.usage.num_completion_tokens += num_new
            if output.finished:
                self.usage.num_cached_tokens += output.num_cached_tokens
                self._figures.record(output, self._num_prompt_tokens[index], self._num_generated[index])

    def close(self) -> None:
        """Abort what is left, without waiting. Safe to call twice."""
        if self._watch is not None:
            self._watch.cancel()
        self._call.abandon()


def _refuse_broken(outputs: Sequence[tuple[int, RequestOutput]]) -> None:
    """Raise ApiError if an answer ended because it could not go on."""
    for _, output in outputs:
        for completion in output.outputs:
            if completion.finish_reason == "abort":
                if completion.stop_reason == NOTHING_LEFT:  # the request's own fault
                    raise ApiError(NOTHING_LEFT)
                reason = completion.stop_reason or "The answer was aborted."
                raise ApiError(str(reason), status=FAILED, code="engine_error")
