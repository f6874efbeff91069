"""Log-probabilities of prompt tokens, kept by the names of the blocks that they stand in.

The prefix cache answers a prompt's KV but not its scores; with these a prefix that was scored once is neither computed
nor scored again. Blocks and scores are dropped independently: whoever finds only one of the two computes the other.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from pagednb.request import PromptLogprobs

MAX_BYTES = 64 * 2**20
"""Host memory that scores take: those of a hundred thousand tokens with 20 of the likeliest each are far less."""


class ScoreCache:
    """Scores of full blocks, those used last kept longest. The first block's are from its second token on."""

    def __init__(self, block_size: int, *, max_bytes: int = MAX_BYTES) -> None:
        self._block_size = block_size
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._parts: OrderedDict[bytes, PromptLogprobs] = OrderedDict()

    def put(self, digests: Sequence[bytes], scores: Sequence[PromptLogprobs]) -> None:
        """Keep the ``scores`` of a whole prompt, from its second token on, whose full blocks ``digests`` name."""
        if not digests or not scores:
            return
        whole = PromptLogprobs(*(np.concatenate(columns) for columns in zip(*scores, strict=True)))
        for index, digest in enumerate(digests):
            start, stop = max(0, index * self._block_size - 1), (index + 1) * self._block_size - 1
            if stop > len(whole.token_ids):
                return
            self._keep(digest, PromptLogprobs(*(column[start:stop].copy() for column in whole)))

    def find(self, digests: Sequence[bytes], num_top: int) -> list[PromptLogprobs]:
        """Return the scores of the leading blocks that have any with at least ``num_top`` of the likeliest."""
        found = []
        for digest in digests:
            part = self._parts.get(digest)
            if part is None or part.top_token_ids.shape[1] < num_top:
                break
            self._parts.move_to_end(digest)
            columns = {name: getattr(part, name)[:, :num_top] for name in ("top_token_ids", "top_logprobs")}
            found.append(part._replace(**columns))
        return found

    def clear(self) -> None:
        """Forget all scores."""
        self._parts.clear()
        self._num_bytes = 0

    def _keep(self, digest: bytes, part: PromptLogprobs) -> None:
        known = self._parts.pop(digest, None)
        if known is not None:
            self._num_bytes -= _num_bytes(known)
            if known.top_token_ids.shape[1] > part.top_token_ids.shape[1]:
                part = known
        self._parts[digest] = part
        self._num_bytes += _num_bytes(part)
        while self._num_bytes > self._max_bytes:
            _, oldest = self._parts.popitem(last=False)
            self._num_bytes -= _num_bytes(oldest)


def _num_bytes(part: PromptLogprobs) -> int:
    return sum(column.nbytes for column in part)
