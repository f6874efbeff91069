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
        self._decode_shared = kernels.shared_prefix_attention
        self._scale = scale
        self._sliding_window = sliding_window

    def __call__(self, q: torch.Tensor, cache: KVCache, batch: ForwardBatch) -> torch.Tensor:
        """Return ``[num_tokens, num_q_heads, head_dim]`` for the queries of all tokens, of the same shape."""
        num_decodes = batch.num_decodes
        if batch.num_prefills == 0:
            return self._attend_decodes(q, cache, batch, slice(None))
        out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
        self._prefill(
            q[num_decodes:],
            *cache,
            batch.block_tables[num_decodes:],
            batch.query_start_loc[num_decodes:],
            batch.seq_lens[num_decodes:],
            scale=self._scale,
            max_query_len=batch.max_query_len,
            sliding_window=self._sliding_window,
            out=out[num_decodes:],
        )
        if num_decodes:
            self._attend_decodes(q[:num_decodes], cache, batch, slice(num_decodes), out=out[:num_decodes])
        return out

    def attend_sampled(self, q: torch.Tensor, cache: KVCache, batch: ForwardBatch) -> torch.Tensor:
        """Return ``[num_sampled, num_q_heads, head_dim]`` for the queries of ``batch.sample_indices`` alone.

        A lone query at position p is a decode of a sequence of p + 1 tokens, wherever in a chunk it stands.
        """
        starts = batch.query_start_loc
        seqs = torch.searchsorted(starts, batch.sample_indices.to(starts.dtype), right=True) - 1
        lens = (batch.positions[batch.sample_indices] + 1).to(batch.seq_lens.dtype)
        return self._attend_decodes(q, cache, batch, seqs, lens)

    def _attend_decodes(
        self,
        q: torch.Tensor,
        cache: KVCache,
        batch: ForwardBatch,
        seqs: torch.Tensor | slice,
        seq_lens: torch.Tensor | None = None,
        *,
        out: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attend with one query for each of ``seqs``, which are ``seq_lens`` long if not as long as in the batch."""
        seq_lens = batch.seq_lens[seqs] if seq_lens is None else seq_lens
        inputs = (q, *cache, batch.block_tables[seqs], seq_lens)
        options = {"scale": self._scale, "max_seq_len": batch.max_seq_len, "out": out}
        attended: torch.Tensor
        # a window may begin within the prefix, and differently for each sequence
        if batch.shared_prefix_lens is not None and self._sliding_window is None:
            attended = self._decode_shared(*inputs, batch.shared_prefix_lens[seqs], **options)
        else:
            attended = self._decode(*inputs, **options, sliding_window=self._sliding_window)
        return attended
