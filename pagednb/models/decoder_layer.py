"""The two ways to wire a decoder layer: norms before the blocks (nearly all models) or after them (OPT-350m)."""

from __future__ import annotations

from typing import Protocol

import torch

from pagednb.attention.paged_attention import KVCache
from pagednb.forward_batch import ForwardBatch
from pagednb.layers.mlp import GatedMLP, PlainMLP
from pagednb.layers.norm import Norm
from pagednb.layers.self_attention import SelfAttention


class DecoderLayer(Protocol):
    """Attention and MLP with their norms.

    ``hidden`` is the last block's output and ``residual`` the stream it is still to be added to; None when nothing is
    pending. With ``only_sampled`` both come back for ``batch.sample_indices`` only. ``residual`` is updated in place.
    """

    def __call__(
        self,
        hidden: torch.Tensor,
        residual: torch.Tensor | None,
        cache: KVCache,
        batch: ForwardBatch,
        *,
        only_sampled: bool,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the new ``hidden`` and ``residual``, each ``[num_tokens or num_sampled, hidden]``."""
        ...


class PreNormLayer:
    """``x += attention(norm(x)); x += mlp(norm(x))``, the second sum left to the next norm."""

    def __init__(
        self, attention_norm: Norm, attention: SelfAttention, mlp_norm: Norm, mlp: GatedMLP | PlainMLP
    ) -> None:
        self._attention_norm = attention_norm
        self._attention = attention
        self._mlp_norm = mlp_norm
        self._mlp = mlp

    def __call__(
        self,
        hidden: torch.Tensor,
        residual: torch.Tensor | None,
        cache: KVCache,
        batch: ForwardBatch,
        *,
        only_sampled: bool,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """See ``DecoderLayer``."""
        if residual is None:
            normed, residual = self._attention_norm(hidden), hidden
        else:
            normed, residual = self._attention_norm.add(hidden, residual)
        attended = self._attention(normed, cache, batch, only_sampled=only_sampled)
        if only_sampled:
            residual = residual[batch.sample_indices]
        normed, residual = self._mlp_norm.add(attended, residual)
        return self._mlp(normed), residual


class PostNormLayer:
    """``x = norm(x + attention(x)); x = norm(x + mlp(x))``: nothing is left pending."""

    def __init__(
        self, attention_norm: Norm, attention: SelfAttention, mlp_norm: Norm, mlp: GatedMLP | PlainMLP
    ) -> None:
        self._attention_norm = attention_norm
        self._attention = attention
        self._mlp_norm = mlp_norm
        self._mlp = mlp

    def __call__(
        self,
        hidden: torch.Tensor,
        residual: torch.Tensor | None,
        cache: KVCache,
        batch: ForwardBatch,
        *,
        only_sampled: bool,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """See ``DecoderLayer``."""
        assert residual is None
        attended = self._attention(hidden, cache, batch, only_sampled=only_sampled)
        if only_sampled:
            hidden = hidden[batch.sample_indices]
        hidden, _ = self._attention_norm.add(attended, hidden)
        hidden, _ = self._mlp_norm.add(self._mlp(hidden), hidden)
        return hidden, None
