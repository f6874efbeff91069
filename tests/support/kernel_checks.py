"""Inputs and error metric of the kernel tests: paged caches full of poison, and RMS error relative to RMS."""

from __future__ import annotations

import dataclasses

import pytest
import torch

# Triton's interpreter truncates to bfloat16 where a GPU rounds, and cannot multiply bfloat16 matrices
DTYPES = (torch.float32, torch.float16, pytest.param(torch.bfloat16, marks=pytest.mark.gpu))

POISON_BLOCK = 1 << 30  # an address far outside any cache: reading it crashes or shows


def error_ratio(out: torch.Tensor, expected: torch.Tensor) -> float:
    """Return RMS(out - expected) / RMS(expected) in float64; NaN anywhere makes it NaN, which passes no bound."""
    out, expected = out.double().cpu(), expected.double().cpu()
    return float((out - expected).square().mean().sqrt() / expected.square().mean().sqrt())


def bound(dtype: torch.dtype) -> float:
    """Return the largest error ratio allowed: one unit of rounding, or for fp32 a few of its approximated functions."""
    eps = torch.finfo(dtype).eps
    return 32 * eps if dtype == torch.float32 else eps


def draw(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, *, seed: int) -> torch.Tensor:
    """Return normal random numbers that do not depend on the device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(dtype).to(device)


@dataclasses.dataclass(frozen=True)
class PagedKV:
    """Dense keys and values of some sequences, and the same scattered over a paged cache.

    Slots that hold no token are NaN; table entries past a sequence's last block are ``POISON_BLOCK``.
    """

    keys: list[torch.Tensor]  # each [seq_len, num_kv_heads, head_dim]
    values: list[torch.Tensor]
    k_cache: torch.Tensor
    v_cache: torch.Tensor
    block_tables: torch.Tensor
    seq_lens: torch.Tensor


def paged_kv(
    lengths: list[int],
    *,
    num_kv_heads: int,
    head_dim: int,
    block_size: int,
    dtype: torch.dtype,
    device: torch.device,
    seed: int = 0,
) -> PagedKV:
    """Build random sequences of the given lengths in shuffled blocks."""
    generator = torch.Generator().manual_seed(seed)
    counts = [-(-n // block_size) for n in lengths]
    order = (torch.randperm(sum(counts), generator=generator) + 1).tolist()
    shape = (sum(counts) + 2, num_kv_heads, block_size, head_dim)
    caches = [torch.full(shape, torch.nan), torch.full(shape, torch.nan)]
    tables = torch.full((len(lengths), max(counts) + 2), POISON_BLOCK, dtype=torch.int32)
    dense: list[list[torch.Tensor]] = [[], []]
    for seq, (length, count) in enumerate(zip(lengths, counts, strict=True)):
        blocks = torch.tensor([order.pop() for _ in range(count)])
        tables[seq, :count] = blocks.int()
        pos = torch.arange(length)
        for cache, kept in zip(caches, dense, strict=True):
            rows = torch.randn((length, num_kv_heads, head_dim), generator=generator).to(dtype)
            cache[blocks[pos // block_size], :, pos % block_size] = rows.float()
            kept.append(rows.to(device))
    k_cache, v_cache = (cache.to(dtype).to(device) for cache in caches)
    return PagedKV(dense[0], dense[1], k_cache, v_cache, tables.to(device), torch.tensor(lengths).int().to(device))


def dense_attention(
    q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, *, scale: float, sliding_window: int | None
) -> torch.Tensor:
    """Attend in float64 by the textbook formula: ``q [query_len, num_q_heads, head_dim]`` are the last positions."""
    group = q.shape[1] // keys.shape[1]
    k, v = (x.double().repeat_interleave(group, dim=1) for x in (keys, values))
    scores = torch.einsum("qhd,khd->hqk", q.double(), k) * scale
    distance = torch.arange(k.shape[0] - q.shape[0], k.shape[0]).unsqueeze(1) - torch.arange(k.shape[0])
    hidden = (distance < 0) | (distance >= (sliding_window or k.shape[0]))
    weights = scores.masked_fill(hidden.to(q.device), -torch.inf).softmax(dim=-1)
    return torch.einsum("hqk,khd->qhd", weights, v)
