"""Log-probabilities of prompt tokens: which rows of a pass they come from, and what is computed of them.

A position's hidden state scores the token after it. Such a pass keeps the last layer's output of all its tokens, and
their logits exist a bounded chunk at a time. Few requests ask for it: steps without them never come here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from pagednb.sampling.logprobs import LogprobTensors, RawLogits, concatenate
from pagednb.sampling.transfer import to_device
from pagednb.scheduler.output import SchedulerOutput

LOGITS_CHUNK_BYTES = 32 * 2**20
"""Most memory that the logits of one chunk take as fp32; a few temporaries of that size live beside them."""


class PromptScorer:
    """What one plan scores. ``num_scored``: positions in all chunks that ask."""

    def __init__(self, plan: SchedulerOutput, *, num_decodes: int, device: torch.device) -> None:
        """``num_decodes``: sequences of the pass ahead of its chunks, one token each."""
        indices, targets, self._width, start = [], [], 0, num_decodes
        for chunk in plan.prefills:
            if chunk.scoring is not None:
                first = start + chunk.scoring.first
                indices.append(np.arange(first, first + len(chunk.scoring.token_ids), dtype=np.int64))
                targets.append(chunk.scoring.token_ids.astype(np.int64))
                self._width = max(self._width, chunk.scoring.num_top)
            start += len(chunk.token_ids)
        sent = to_device({"indices": np.concatenate(indices), "targets": np.concatenate(targets)}, device)
        self._indices, self._targets = sent["indices"], sent["targets"]  # [num_scored] each

    def score(
        self, hidden: torch.Tensor, compute_logits: Callable[[torch.Tensor], torch.Tensor], *, vocab_size: int
    ) -> LogprobTensors | None:
        """Return the logprobs of the scored tokens; ``hidden`` ``[num_tokens, hidden_size]`` is of all tokens."""
        num_rows = max(1, LOGITS_CHUNK_BYTES // (vocab_size * torch.float32.itemsize))
        parts = []
        for start in range(0, len(self._indices), num_rows):
            indices, targets = self._indices[start : start + num_rows], self._targets[start : start + num_rows]
            logits = compute_logits(hidden[indices]).float()
            parts.append(RawLogits(logits, np.arange(len(indices)), self._width).gather(targets, start))
        return concatenate(parts)
