"""A request inside the scheduler: what outlives the row that it runs in."""

from __future__ import annotations

import numpy as np

from pagednb.request import Request

_NO_TOKENS = np.empty(0, dtype=np.int32)


class Sequence:
    """A request, its place in the order of service, and what preemption must not lose.

    Attributes:
        order: (priority, 0 if somebody watches the stream else 1, arrival); the least is served first and preempted
            last.
        output_token_ids: int32, the output known when it last lost its row.
        block_digests: names of its full blocks, computed once and extended as tokens become known.
        num_cached_tokens: prompt tokens that the prefix cache answered at first admission; None before.
        num_preemptions: how often it lost its row before its end.
    """

    __slots__ = ("block_digests", "num_cached_tokens", "num_preemptions", "order", "output_token_ids", "request")

    def __init__(self, request: Request, arrival: int) -> None:
        self.request = request
        self.order = (request.priority, 0 if request.stream else 1, arrival)
        self.output_token_ids = _NO_TOKENS
        self.block_digests = list(request.block_digests)
        self.num_cached_tokens: int | None = None
        self.num_preemptions = 0

    @property
    def token_ids(self) -> np.ndarray:
        """Prompt, then output, int32; read-only."""
        if not len(self.output_token_ids):
            return self.request.prompt_token_ids
        return np.concatenate([self.request.prompt_token_ids, self.output_token_ids])
