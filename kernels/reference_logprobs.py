"""Logprobs of given tokens in plain torch: the meaning of the kernel, and the CPU engine."""

from __future__ import annotations

import torch


def token_logprobs(
    logits: torch.Tensor, token_ids: torch.Tensor, rows: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the log-softmax of some rows at some tokens each, and how likely the first of them is among all.

    Args:
        logits: ``[num_rows, vocab]``, any float dtype.
        token_ids: int64 ``[m, width]``, width at least 1, each below ``vocab``.
        rows: int64 ``[m]``, the row of ``logits`` that each row of ``token_ids`` is about; None for all in their order.

    Returns:
        Logprobs, float32 ``[m, width]``, and the ranks of the tokens in the first column, int32 ``[m]``: 1 plus the
        tokens that are likelier.
    """
    asked = (logits if rows is None else logits[rows]).float()
    chosen = asked.gather(1, token_ids)
    ranks = (asked > chosen[:, :1]).sum(dim=1, dtype=torch.int32) + 1
    return chosen - asked.logsumexp(dim=1, keepdim=True), ranks
