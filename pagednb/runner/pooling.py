"""Sums of hidden states over parts of prefill chunks: what embeddings of prompts are made of."""

from __future__ import annotations

import torch

from pagednb.scheduler.output import SchedulerOutput


def pool(plan: SchedulerOutput, hidden: torch.Tensor, *, num_decodes: int) -> torch.Tensor:
    """Return one sum for each chunk that has ``pooling``, float32 ``[num_pooled, hidden_size]``.

    ``hidden`` ``[num_tokens, hidden_size]``, final-normed, is of all tokens: ``num_decodes``, then those of the chunks.
    """
    sums, start = [], num_decodes
    for chunk in plan.prefills:
        if chunk.pooling is not None:
            part = hidden[start + chunk.pooling.start : start + chunk.pooling.stop]
            sums.append(part.sum(dim=0, dtype=torch.float32))
        start += len(chunk.token_ids)
    return torch.stack(sums)
