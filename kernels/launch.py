"""Launch arithmetic and argument checks shared by the Triton wrappers. A failed check is a bug of the caller."""

from __future__ import annotations

import functools

import torch
import triton

MAX_ROW_BLOCK = 32768
LOG2_E = 1.4426950408889634
"""Scales scores to base 2: ``exp(x) = exp2(x * LOG2_E)``, and exp2 is what the hardware has."""


def row_launch(width: int) -> tuple[int, int]:
    """Return (block, num_warps) for a program that holds a whole row of ``width`` elements in registers."""
    block = triton.next_power_of_2(width)
    assert block <= MAX_ROW_BLOCK, f"a row of {width} elements does not fit one program (at most {MAX_ROW_BLOCK})"
    return block, min(16, max(1, block // 512))


def check_rows(x: torch.Tensor, width: int, like: torch.Tensor) -> None:
    """Check that ``x`` is ``[num_rows, width]`` with contiguous rows, of ``like``'s dtype and device."""
    assert x.dim() == 2 and x.shape[1] == width, f"expected [num_rows, {width}], got {list(x.shape)}"
    assert x.stride(1) == 1, f"rows must be contiguous, strides are {x.stride()}"
    assert x.dtype == like.dtype, f"dtypes differ: {x.dtype} and {like.dtype}"
    assert x.device == like.device, f"devices differ: {x.device} and {like.device}"


def check_cache(k_cache: torch.Tensor, v_cache: torch.Tensor, head_dim: int) -> None:
    """Check that both caches are ``[num_blocks, num_kv_heads, block_size, head_dim]``, contiguous and alike."""
    assert k_cache.shape == v_cache.shape, f"cache shapes differ: {list(k_cache.shape)} and {list(v_cache.shape)}"
    assert k_cache.dim() == 4 and k_cache.shape[3] == head_dim, f"cache {list(k_cache.shape)}, head_dim {head_dim}"
    assert k_cache.is_contiguous() and v_cache.is_contiguous(), "a layer's cache must be contiguous"
    assert k_cache.dtype == v_cache.dtype, f"cache dtypes differ: {k_cache.dtype} and {v_cache.dtype}"
    block_size = k_cache.shape[2]
    assert block_size & (block_size - 1) == 0, f"block size {block_size} is not a power of two"


def check_queries(q: torch.Tensor, k_cache: torch.Tensor, block_tables: torch.Tensor) -> None:
    """Check that ``q`` is ``[num_tokens, num_q_heads, head_dim]`` in whole groups and tables have contiguous rows."""
    assert q.dim() == 3 and q.shape[1] % k_cache.shape[1] == 0, f"q {list(q.shape)}, cache {list(k_cache.shape)}"
    assert q.stride(2) == 1, f"heads must be contiguous, strides are {q.stride()}"
    assert q.dtype == k_cache.dtype, f"dtypes differ: {q.dtype} and {k_cache.dtype}"
    assert block_tables.stride(1) == 1, "rows of block tables must be contiguous"


@functools.cache
def overlap_options(device: torch.device) -> dict[str, bool]:
    """Return the launch options of a kernel that starts before the kernel ahead of it ends, and waits for it itself.

    They are empty where no GPU can do that (it takes Hopper or later): the kernel must not wait then.
    """
    is_able = device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= 9
    return {"launch_pdl": True} if is_able else {}


def dot_precision(dtype: torch.dtype) -> str:
    """Return ``tl.dot``'s input precision: exact products for fp32, where the default would round to tf32."""
    return "ieee" if dtype == torch.float32 else "tf32"
