"""The self-attention block: fused QKV, rotation and cache write, attention, output projection."""

from __future__ import annotations

import dataclasses

import torch

from pagednb.attention.paged_attention import KVCache, PagedAttention
from pagednb.forward_batch import ForwardBatch
from pagednb.kernels.kernel_set import KernelSet
from pagednb.layers.linear import Linear


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadPreparation:
    """What happens to query and key heads before they meet.

    Attributes:
        cos_sin: fp32 ``[num_positions, head_dim]``; None leaves heads unrotated.
        q_norm_weight, k_norm_weight: ``[head_dim]``, RMSNorm of each head; None leaves it out.
        eps: of those norms.
    """

    cos_sin: torch.Tensor | None
    q_norm_weight: torch.Tensor | None
    k_norm_weight: torch.Tensor | None
    eps: float


class SelfAttention:
    """One layer's attention block."""

    def __init__(
        self,
        qkv: Linear,
        out: Linear,
        attention: PagedAttention,
        kernels: KernelSet,
        *,
        num_q_heads: int,
        heads: HeadPreparation,
    ) -> None:
        self._qkv = qkv
        self._out = out
        self._attention = attention
        self._rope_and_cache = kernels.rope_and_cache
        self._num_q_heads = num_q_heads
        self._heads = heads

    def __call__(
        self, x: torch.Tensor, cache: KVCache, batch: ForwardBatch, *, only_sampled: bool = False
    ) -> torch.Tensor:
        """Write K and V of all tokens; return the block's output.

        Args:
            x: ``[num_tokens, hidden]``.
            cache: K and V of this layer.
            batch: positions, slots and sequences of the tokens.
            only_sampled: return rows for ``batch.sample_indices`` only.

        Returns:
            ``[num_tokens or num_sampled, hidden]``.
        """
        q = self._rope_and_cache(
            self._qkv(x),
            batch.positions,
            batch.slot_mapping,
            *cache,
            num_q_heads=self._num_q_heads,
            cos_sin=self._heads.cos_sin,
            q_norm_weight=self._heads.q_norm_weight,
            k_norm_weight=self._heads.k_norm_weight,
            eps=self._heads.eps,
        )  # [num_tokens, num_q_heads, head_dim]
        if only_sampled:
            attended = self._attention.attend_sampled(q[batch.sample_indices], cache, batch)
        else:
            attended = self._attention(q, cache, batch)
        return self._out(attended.flatten(1))
