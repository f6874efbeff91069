"""Attention of one layer over the paged cache: decodes to the decode kernel, prefill chunks to the prefill kernel.

K and V of the batch are in the cache already. Nothing here knows projections, positions' encoding or requests.
"""

from __future__ import annotations

import torch

from pagednb.forward_batch import ForwardBatch
from pagednb.kernels.kernel_set import KernelSet

KVCache = tuple[torch.Tensor, torch.Tensor]
"""K and V of one layer, each ``[num_blocks, num_kv_heads, block_size, head_dim]``."""


class PagedAttention:
    """Causal attention with a fixed scale and, for some layers, a sliding window."""

    def __init__(self, kernels: KernelSet, *, scale: float, sliding_window: int | None) -> None:
        self._prefill = kernels.paged_prefill_attention
        self._decode = kernels.paged_decode_attention
        self._scale = scale
        self._sliding_window = sliding_window

    def __call__(self, q: torch.Tensor, cache: KVCache, batch: ForwardBatch) -> torch.Tensor:
        """Return ``[num_tokens, num_q_heads, head_dim]`` for the queries of all tokens, of the same shape."""
        num_decodes = batch.num_decodes
        if batch.num_prefills == 0:
            return self._attend_decodes(q, cache, batch, batch.block_tables, batch.seq_lens)
        chunks: torch.Tensor = self._prefill(
            q[num_decodes:],
            *cache,
            batch.block_tables[num_decodes:],
            batch.query_start_loc[num_decodes:],
            batch.seq_lens[num_decodes:],
            scale=self._scale,
            max_query_len=batch.max_query_len,
            sliding_window=self._sliding_window,
        )
        if num_decodes == 0:
            return chunks
        tables, lens = batch.block_tables[:num_decodes], batch.seq_lens[:num_decodes]
        decodes = self._attend_decodes(q[:num_decodes], cache, batch, tables, lens)
        return torch.cat((decodes, chunks))

    def attend_sampled(self, q: torch.Tensor, cache: KVCache, batch: ForwardBatch) -> torch.Tensor:
        """Return ``[num_sampled, num_q_heads, head_dim]`` for the queries of ``batch.sample_indices`` alone.

        A lone query at position p is a decode of a sequence of p + 1 tokens, wherever in a chunk it stands.
        """
        starts = batch.query_start_loc
        seqs = torch.searchsorted(starts, batch.sample_indices.to(starts.dtype), right=True) - 1
        lens = (batch.positions[batch.sample_indices] + 1).to(batch.seq_lens.dtype)
        return self._attend_decodes(q, cache, batch, batch.block_tables[seqs], lens)

    def _attend_decodes(
        self, q: torch.Tensor, cache: KVCache, batch: ForwardBatch, block_tables: torch.Tensor, seq_lens: torch.Tensor
    ) -> torch.Tensor:
        attended: torch.Tensor = self._decode(
            q,
            *cache,
            block_tables,
            seq_lens,
            scale=self._scale,
            max_seq_len=batch.max_seq_len,
            sliding_window=self._sliding_window,
        )
        return attended
