"""A request inside the scheduler: what outlives the row that it runs in."""

from __future__ import annotations

import numpy as np

from pagednb.request import PromptLogprobs, Request

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
        left_tokens: those whose KV it left in blocks when it last did, without what other rows held too.
        scores: log-probabilities of its prompt's tokens from the second on, as far as they are known; see
            ``prompt_scores.py``.
        num_scored: leading prompt tokens that have theirs, or need none as the first.
        wants_scores: whether more are to come; a fork leaves them to its parent.
        pooled: float32 ``[hidden_size]``, the sum of its prompt's hidden states so far; None without any.
    """

    __slots__ = (
        "block_digests",
        "left_tokens",
        "num_cached_tokens",
        "num_preemptions",
        "num_scored",
        "order",
        "output_token_ids",
        "pooled",
        "request",
        "scores",
        "wants_scores",
    )

    def __init__(self, request: Request, arrival: int) -> None:
        self.request = request
        self.order = (request.priority, 0 if request.stream else 1, arrival)
        self.output_token_ids = _NO_TOKENS
        self.block_digests = list(request.block_digests)
        self.num_cached_tokens: int | None = None
        self.num_preemptions = 0
        self.left_tokens = range(0)
        self.scores: tuple[PromptLogprobs, ...] = ()
        self.num_scored = 1
        self.pooled: np.ndarray | None = None
        self.wants_scores = request.sampling_params.prompt_logprobs is not None and request.parent_id is None

    def add_scores(self, scores: PromptLogprobs) -> None:
        """Note the scores of the tokens that follow those scored so far."""
        self.scores += (scores,)
        self.num_scored += len(scores.token_ids)
        self.wants_scores = self.num_scored < self.request.num_prompt_tokens

    @property
    def token_ids(self) -> np.ndarray:
        """Prompt, then output, int32; read-only."""
        if not len(self.output_token_ids):
            return self.request.prompt_token_ids
        return np.concatenate([self.request.prompt_token_ids, self.output_token_ids])
