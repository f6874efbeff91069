"""Log-probabilities of the rows that ask, from the raw logits: before temperature, bias and penalties.

Only the asked rows are touched, and the log-softmax of a whole row is never materialised.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
import torch.nn.functional as F

from pagednb.sampling.transfer import to_device, to_host
from pagednb.scheduler.output import LogprobArrays


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LogprobTensors:
    """``LogprobArrays`` as tensors; ``sample_positions`` int64 is on the host from the start."""

    sample_positions: np.ndarray
    sampled_logprobs: torch.Tensor  # [m]
    ranks: torch.Tensor  # [m]
    top_token_ids: torch.Tensor  # [m, width]
    top_logprobs: torch.Tensor  # [m, width]

    def to_host(self) -> LogprobTensors:
        """Start the copies to the host; valid once the current stream has reached this point."""
        return LogprobTensors(
            sample_positions=self.sample_positions,
            sampled_logprobs=to_host(self.sampled_logprobs),
            ranks=to_host(self.ranks),
            top_token_ids=to_host(self.top_token_ids),
            top_logprobs=to_host(self.top_logprobs),
        )

    def to_arrays(self) -> LogprobArrays:
        """Return the finished copies as NumPy arrays."""
        return LogprobArrays(
            sample_positions=self.sample_positions.astype(np.int32),
            sampled_logprobs=self.sampled_logprobs.numpy(),
            ranks=self.ranks.numpy(),
            top_token_ids=self.top_token_ids.numpy(),
            top_logprobs=self.top_logprobs.numpy(),
        )


class RawLogits:
    """The raw logits of the asked rows of one chunk, kept until their tokens are sampled."""

    def __init__(self, logits: torch.Tensor, where: np.ndarray, width: int) -> None:
        self._where = where
        self._index = to_device({"where": where}, logits.device)["where"]
        self._logits = logits[self._index]  # [m, vocab], a copy: processors change the original
        self._width = width

    def gather(self, token_ids: torch.Tensor, first_position: int) -> LogprobTensors:
        """Return the logprobs of the chunk's sampled ``token_ids`` and of the most likely ``width`` tokens."""
        normalizer = self._logits.logsumexp(dim=-1, keepdim=True)  # [m, 1]
        sampled = self._logits.gather(1, token_ids[self._index, None])  # [m, 1]
        top = self._logits.topk(self._width, dim=-1)
        return LogprobTensors(
            sample_positions=self._where + first_position,
            sampled_logprobs=(sampled - normalizer).squeeze(1),
            ranks=(self._logits > sampled).sum(dim=-1, dtype=torch.int32) + 1,
            top_token_ids=top.indices.to(torch.int32),
            top_logprobs=top.values - normalizer,
        )


def concatenate(parts: list[LogprobTensors]) -> LogprobTensors | None:
    """Join the parts of one step, padded to the widest; None when no row asked."""
    if len(parts) <= 1:
        return parts[0] if parts else None
    width = max(part.top_token_ids.shape[1] for part in parts)
    return LogprobTensors(
        sample_positions=np.concatenate([part.sample_positions for part in parts]),
        sampled_logprobs=torch.cat([part.sampled_logprobs for part in parts]),
        ranks=torch.cat([part.ranks for part in parts]),
        top_token_ids=torch.cat([_widened(part.top_token_ids, width) for part in parts]),
        top_logprobs=torch.cat([_widened(part.top_logprobs, width) for part in parts]),
    )


def _widened(columns: torch.Tensor, width: int) -> torch.Tensor:
    return F.pad(columns, (0, width - columns.shape[1]))
