"""Rows that ask for the logprobs of tokens that they name: no sort, and no copy of logits that nobody changes.

The names stay on the host; a step sends those of the rows it samples. Rows without any pay nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from pagednb.sampling.logprobs import LogprobTensors
from pagednb.sampling.row_features import RowValues
from pagednb.sampling.transfer import to_device
from pagednb.sampling_checks import MAX_LOGPROB_TOKEN_IDS

TokenLogprobs = Callable[..., tuple[torch.Tensor, torch.Tensor]]
"""The kernel; see ``kernels/reference_logprobs.py``."""


class NamedTokens:
    """The tokens that each row named, at admission."""

    def __init__(self, num_rows: int, token_logprobs: TokenLogprobs) -> None:
        self._token_logprobs = token_logprobs
        self._num_named = RowValues(num_rows)
        self._token_ids = np.zeros((num_rows, MAX_LOGPROB_TOKEN_IDS), dtype=np.int64)  # zeros beyond a row's names

    def admit(self, row: int, token_ids: tuple[int, ...]) -> None:
        """Note the ``token_ids`` of ``row``; each is below the size of the vocabulary."""
        self._num_named.set(row, len(token_ids))
        self._token_ids[row, : len(token_ids)] = token_ids
        self._token_ids[row, len(token_ids) :] = 0

    def release(self, rows: np.ndarray) -> None:
        """Forget ``rows``."""
        self._num_named.pop(rows)

    def are_absent(self, rows: np.ndarray) -> bool:
        """Whether none of ``rows`` named any."""
        return not len(self._num_named.select(rows)[0])

    def keep(self, logits: torch.Tensor, rows: np.ndarray, *, is_final: bool) -> NamedLogits | None:
        """Return what is needed of ``logits`` ``[num_rows, vocab]`` until ``rows`` are sampled; None if nothing is.

        ``is_final`` promises that nobody changes the logits in place; otherwise those of the asking rows are copied.
        """
        where, counts = self._num_named.select(rows)
        if not len(where):
            return None
        named = self._token_ids[rows[where], : counts.max()]
        return NamedLogits(logits, where, named, self._token_logprobs, is_final=is_final)


class NamedLogits:
    """The raw logits of one chunk and what is asked of them, kept until its tokens are sampled."""

    def __init__(
        self,
        logits: torch.Tensor,
        where: np.ndarray,
        named: np.ndarray,
        token_logprobs: TokenLogprobs,
        *,
        is_final: bool,
    ) -> None:
        sent = to_device({"where": where, "named": named}, logits.device)
        self._where = where
        self._index, self._named = sent["where"], sent["named"]  # [m] and [m, width]
        self._logits = logits if is_final else logits[self._index]
        self._rows = self._index if is_final else None
        self._token_logprobs = token_logprobs

    def gather(self, token_ids: torch.Tensor, first_position: int) -> LogprobTensors:
        """Return the logprobs of the chunk's sampled ``token_ids`` and of the named tokens."""
        asked = torch.cat([token_ids[self._index, None], self._named], dim=1)  # [m, 1 + width]
        logprobs, ranks = self._token_logprobs(self._logits, asked, self._rows)
        return LogprobTensors(
            sample_positions=self._where + first_position,
            sampled_logprobs=logprobs[:, 0],
            ranks=ranks,
            top_token_ids=self._named.to(torch.int32),
            top_logprobs=logprobs[:, 1:],
        )
