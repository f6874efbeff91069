"""Plain torch forms of the elementwise kernels: the meaning of each op, and the CPU engine.

Every function has the name and signature of its Triton twin in ``kernels/<name>.py``. Arithmetic is fp32 (fp64 for fp64
inputs) and rounds once, when the result is stored.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Return ``x @ weight.T + bias``, ``[num_tokens, out_features]``, summed in fp32.

    Args:
        x: ``[num_tokens, in_features]``.
        weight: ``[out_features, in_features]``.
        bias: ``[out_features]``.
    """
    return F.linear(x, weight, bias)


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """Return ``x / rms(x) * weight`` over the last dimension.

    Args:
        x: ``[num_tokens, hidden]``.
        weight: ``[hidden]``.
        eps: added to the mean square.
    """
    return _normed(_wide(x), weight, eps).to(x.dtype)


def add_rms_norm(
    x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Add ``x`` to ``residual`` in place; return the normalised sum and the residual. All ``[num_tokens, hidden]``."""
    residual.add_(x)
    return rms_norm(residual, weight, eps), residual


def silu_and_mul(gate_up: torch.Tensor) -> torch.Tensor:
    """Return ``silu(gate) * up`` for a packed ``[num_tokens, 2 * intermediate]`` tensor (gate first)."""
    gate, up = _wide(gate_up).chunk(2, dim=-1)
    return (F.silu(gate) * up).to(gate_up.dtype)


def rope_and_cache(
    qkv: torch.Tensor,
    positions: torch.Tensor,
    slot_mapping: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    *,
    num_q_heads: int,
    cos_sin: torch.Tensor | None = None,
    q_norm_weight: torch.Tensor | None = None,
    k_norm_weight: torch.Tensor | None = None,
    eps: float = 1e-6,
) -> torch.Tensor:
    """Normalise and rotate the heads of ``qkv``, write K and V into the paged cache, return Q.

    Args:
        qkv: ``[num_tokens, (num_q_heads + 2 * num_kv_heads) * head_dim]``, the fused projection's output.
        positions: int64 ``[num_tokens]``, rows of ``cos_sin``.
        slot_mapping: int64 ``[num_tokens]``, ``block * block_size + offset``.
        k_cache, v_cache: ``[num_blocks, num_kv_heads, block_size, head_dim]``, written at the slots.
        num_q_heads: query heads; the number of KV heads is the cache's.
        cos_sin: fp32 ``[max_positions, head_dim]``, cosines then sines (NeoX halves). None leaves heads unrotated.
        q_norm_weight, k_norm_weight: ``[head_dim]``, RMSNorm of each head before the rotation. None leaves it out.
        eps: of the head norms.

    Returns:
        ``[num_tokens, num_q_heads, head_dim]``, a new tensor.
    """
    _, num_kv_heads, block_size, head_dim = k_cache.shape
    heads = qkv.reshape(-1, num_q_heads + 2 * num_kv_heads, head_dim)
    q, k, v = heads.split((num_q_heads, num_kv_heads, num_kv_heads), dim=1)
    angles = None if cos_sin is None else cos_sin[positions]
    blocks, offsets = slot_mapping // block_size, slot_mapping % block_size
    k_cache[blocks, :, offsets] = _prepare_heads(k, k_norm_weight, angles, eps).to(k_cache.dtype)
    v_cache[blocks, :, offsets] = v.to(v_cache.dtype)
    return _prepare_heads(q, q_norm_weight, angles, eps).to(qkv.dtype, copy=True)


def _prepare_heads(
    heads: torch.Tensor, norm_weight: torch.Tensor | None, angles: torch.Tensor | None, eps: float
) -> torch.Tensor:
    x = _wide(heads)
    if norm_weight is not None:
        x = _normed(x, norm_weight, eps)
    if angles is None:
        return x
    cos, sin = angles.to(x.dtype).unsqueeze(1).chunk(2, dim=-1)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def _normed(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + eps) * weight.to(x.dtype)


def _wide(x: torch.Tensor) -> torch.Tensor:
    return x if x.dtype == torch.float64 else x.float()
