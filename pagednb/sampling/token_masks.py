"""Minus infinity on the tokens that a row's constraint does not allow."""

from __future__ import annotations

import numpy as np
import torch

from pagednb.sampling.transfer import to_device
from pagednb.scheduler.output import TokenMasks

# rows treated at once: unpacked bits and a copy of the logits live at the same time
_CHUNK_ROWS = 64


def apply_token_masks(logits: torch.Tensor, masks: TokenMasks, *, first_position: int = 0) -> None:
    """Mask ``logits`` ``[num_rows, vocab]`` in place; its rows are sampled rows from ``first_position`` on."""
    where = masks.sample_positions.astype(np.int64) - first_position
    is_here = (where >= 0) & (where < len(logits))
    if not is_here.any():
        return
    sent = to_device({"where": where[is_here], "words": masks.words[is_here]}, logits.device)
    bits = torch.arange(32, dtype=torch.int32, device=logits.device)
    for start in range(0, len(sent["where"]), _CHUNK_ROWS):
        index = sent["where"][start : start + _CHUNK_ROWS]
        words = sent["words"][start : start + _CHUNK_ROWS, :, None]
        is_allowed = ((words >> bits) & 1).flatten(1)[:, : logits.shape[1]].bool()
        logits[index] = logits[index].masked_fill(~is_allowed, float("-inf"))
