"""Masks of the constrained rows on the device, at a place that stays: captured steps read them there."""

from __future__ import annotations

import torch

from pagednb.scheduler.output import TokenMasks

_BITS = 32


class TokenMaskTable:
    """The masks of the step that runs. ``words``: int32 ``[num_rows, ceil(vocab_size / 32)]``, one mask a row.

    One table serves all steps, for they run one after the other.
    """

    def __init__(self, num_rows: int, *, vocab_size: int, device: torch.device) -> None:
        self.words = torch.empty((num_rows, -(-vocab_size // _BITS)), dtype=torch.int32, device=device)

    @staticmethod
    def num_bytes(num_rows: int, vocab_size: int) -> int:
        """Device memory that it takes, for sizing."""
        return num_rows * -(-vocab_size // _BITS) * torch.int32.itemsize

    def receive(self, masks: TokenMasks) -> None:
        """Send a plan's masks, in their order; on CUDA from where they lie, if that is pinned, without waiting."""
        self.words[: len(masks.words)].copy_(torch.from_numpy(masks.words), non_blocking=True)
