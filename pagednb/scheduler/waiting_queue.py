"""Requests without a row, in the order in which they will get one: priority, then arrival.

Preempted requests keep their arrival and so come back to the front of their priority. A forked request (``n > 1``)
stands aside until its parent's prompt is computed.
"""

from __future__ import annotations

import dataclasses
import heapq

import numpy as np

from pagednb.request import Request
from pagednb.scheduler.output import EMPTY_ROWS


@dataclasses.dataclass(slots=True, eq=False)
class WaitingRequest:
    """A request and what it already has: output tokens from before a preemption, digests of its full blocks."""

    request: Request
    arrival: int
    output_token_ids: np.ndarray = dataclasses.field(default_factory=lambda: EMPTY_ROWS)
    digests: list[bytes] = dataclasses.field(default_factory=list)
    num_cached_tokens: int | None = None

    @property
    def order(self) -> tuple[int, int]:
        """Sort key: lower runs first."""
        return self.request.priority, self.arrival

    @property
    def num_tokens(self) -> int:
        """Known tokens: prompt and output so far."""
        return self.request.num_prompt_tokens + len(self.output_token_ids)

    def token_ids(self) -> np.ndarray:
        """Return the known tokens, int32 ``[num_tokens]``."""
        if not len(self.output_token_ids):
            return self.request.prompt_token_ids
        return np.concatenate([self.request.prompt_token_ids, self.output_token_ids])


class WaitingQueue:
    """Priority queue with removal."""

    def __init__(self) -> None:
        self._heap: list[tuple[tuple[int, int], int]] = []
        self._waiting: dict[int, WaitingRequest] = {}
        self._forks: dict[int, list[int]] = {}  # parent -> children that stand aside

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, request_id: int) -> bool:
        return request_id in self._waiting

    def push(self, waiting: WaitingRequest) -> None:
        """Add a request that may run as soon as there is room."""
        self._waiting[waiting.request.request_id] = waiting
        heapq.heappush(self._heap, (waiting.order, waiting.request.request_id))

    def push_aside(self, waiting: WaitingRequest) -> None:
        """Add a fork that may not run before ``release_forks`` of its parent."""
        assert waiting.request.parent_id is not None
        self._waiting[waiting.request.request_id] = waiting
        self._forks.setdefault(waiting.request.parent_id, []).append(waiting.request.request_id)

    def release_forks(self, parent_id: int) -> None:
        """Let the forks of a parent run: its prompt is computed, or it is gone."""
        for request_id in self._forks.pop(parent_id, ()):
            if request_id in self._waiting:
                heapq.heappush(self._heap, (self._waiting[request_id].order, request_id))

    def peek(self) -> WaitingRequest | None:
        """Return the request that runs next, None if nobody may run."""
        while self._heap:
            waiting = self._waiting.get(self._heap[0][1])
            if waiting is not None and waiting.order == self._heap[0][0]:
                return waiting
            heapq.heappop(self._heap)
        return None

    def pop(self) -> WaitingRequest:
        """Remove and return what ``peek`` shows."""
        waiting = self.peek()
        assert waiting is not None
        heapq.heappop(self._heap)
        return self._waiting.pop(waiting.request.request_id)

    def remove(self, request_id: int) -> WaitingRequest:
        """Remove a request wherever it stands."""
        return self._waiting.pop(request_id)

    def check_integrity(self) -> None:
        """Raise AssertionError unless everyone who waits stands in exactly one place."""
        queued = [request_id for _, request_id in self._heap if request_id in self._waiting]
        aside = [i for forks in self._forks.values() for i in forks if i in self._waiting]
        assert sorted(queued + aside) == sorted(self._waiting), "a waiting request stands nowhere, or twice"
