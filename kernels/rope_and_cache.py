"""What stands between the QKV projection and attention, in one pass: head norms, rotary, and the write to the cache.

A program takes one token and a tile of heads: either query heads, or the K and V of some KV heads.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from pagednb.kernels.launch import check_cache, check_rows, overlap_options

_TILE_ELEMENTS = 2048


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
    """Normalise and rotate heads, write K and V to their slots, return Q. See reference.rope_and_cache."""
    _, num_kv_heads, block_size, head_dim = k_cache.shape
    num_tokens = qkv.shape[0]
    check_rows(qkv, (num_q_heads + 2 * num_kv_heads) * head_dim, like=qkv)
    check_cache(k_cache, v_cache, head_dim)
    assert head_dim % 2 == 0, f"head_dim {head_dim} has no halves"
    assert positions.shape == slot_mapping.shape == (num_tokens,), "one position and one slot a token"
    assert cos_sin is None or (cos_sin.shape[1] == head_dim and cos_sin.is_contiguous()), "cos_sin covers a head"
    assert (q_norm_weight is None) == (k_norm_weight is None), "Q and K are normalised together"

    q = torch.empty((num_tokens, num_q_heads, head_dim), dtype=qkv.dtype, device=qkv.device)
    if num_tokens == 0:
        return q
    half_block = triton.next_power_of_2(head_dim // 2)
    tile_heads = max(1, min(triton.next_power_of_2(num_q_heads), _TILE_ELEMENTS // (2 * half_block)))
    num_tiles = triton.cdiv(num_q_heads, tile_heads) + triton.cdiv(num_kv_heads, tile_heads)
    overlap = overlap_options(qkv.device)
    _rope_and_cache_kernel[(num_tokens, num_tiles)](
        qkv,
        positions,
        slot_mapping,
        k_cache,
        v_cache,
        q,
        cos_sin,
        q_norm_weight,
        k_norm_weight,
        qkv.stride(0),
        eps,
        NUM_Q_HEADS=num_q_heads,
        NUM_KV_HEADS=num_kv_heads,
        HEAD_DIM=head_dim,
        BLOCK_SIZE=block_size,
        TILE_HEADS=tile_heads,
        HALF_BLOCK=half_block,
        OVERLAP=bool(overlap),
        **overlap,
    )
    return q


@triton.jit
def _rope_and_cache_kernel(
    qkv_ptr: tl.tensor,
    positions_ptr: tl.tensor,
    slot_mapping_ptr: tl.tensor,
    k_cache_ptr: tl.tensor,
    v_cache_ptr: tl.tensor,
    q_ptr: tl.tensor,
    cos_sin_ptr: tl.tensor,
    q_norm_ptr: tl.tensor,
    k_norm_ptr: tl.tensor,
    qkv_stride: tl.tensor,
    eps: tl.tensor,
    NUM_Q_HEADS: tl.constexpr,
    NUM_KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    TILE_HEADS: tl.constexpr,
    HALF_BLOCK: tl.constexpr,
    OVERLAP: tl.constexpr,
) -> None:
    if OVERLAP:
        tl.extra.cuda.gdc_launch_dependents()
        tl.extra.cuda.gdc_wait()
    token = tl.program_id(0).to(tl.int64)
    tile = tl.program_id(1)
    NUM_Q_TILES: tl.constexpr = (NUM_Q_HEADS + TILE_HEADS - 1) // TILE_HEADS
    HALF: tl.constexpr = HEAD_DIM // 2
    row_ptr = qkv_ptr + token * qkv_stride
    dims = tl.arange(0, HALF_BLOCK)

    if tile < NUM_Q_TILES:
        heads = tile * TILE_HEADS + tl.arange(0, TILE_HEADS)
        inside = (heads < NUM_Q_HEADS)[:, None] & (dims < HALF)[None, :]
        offsets = heads[:, None] * HEAD_DIM + dims[None, :]
        first, second = _prepared_halves(
            row_ptr, offsets, inside, dims, token, positions_ptr, cos_sin_ptr, q_norm_ptr, eps, HALF
        )
        _store_halves(q_ptr + token * (NUM_Q_HEADS * HEAD_DIM), offsets, inside, first, second, HALF)
    else:
        heads = (tile - NUM_Q_TILES) * TILE_HEADS + tl.arange(0, TILE_HEADS)
        inside = (heads < NUM_KV_HEADS)[:, None] & (dims < HALF)[None, :]
        offsets = heads[:, None] * HEAD_DIM + dims[None, :]
        k_row_ptr = row_ptr + NUM_Q_HEADS * HEAD_DIM
        k_first, k_second = _prepared_halves(
            k_row_ptr, offsets, inside, dims, token, positions_ptr, cos_sin_ptr, k_norm_ptr, eps, HALF
        )
        v_row_ptr = k_row_ptr + NUM_KV_HEADS * HEAD_DIM
        v_first = tl.load(v_row_ptr + offsets, mask=inside, other=0.0)
        v_second = tl.load(v_row_ptr + offsets + HALF, mask=inside, other=0.0)

        slot = tl.load(slot_mapping_ptr + token).to(tl.int64)  # block * stride passes 2^31 in a large cache
        block_start = slot // BLOCK_SIZE * (NUM_KV_HEADS * BLOCK_SIZE * HEAD_DIM)
        slot_offsets = block_start + (heads[:, None] * BLOCK_SIZE + slot % BLOCK_SIZE) * HEAD_DIM + dims[None, :]
        _store_halves(k_cache_ptr, slot_offsets, inside, k_first, k_second, HALF)
        _store_halves(v_cache_ptr, slot_offsets, inside, v_first, v_second, HALF)


@triton.jit
def _prepared_halves(
    row_ptr: tl.tensor,
    offsets: tl.tensor,
    inside: tl.tensor,
    dims: tl.tensor,
    token: tl.tensor,
    positions_ptr: tl.tensor,
    cos_sin_ptr: tl.tensor,
    norm_ptr: tl.tensor,
    eps: tl.tensor,
    HALF: tl.constexpr,
) -> tuple[tl.tensor, ...]:
    """Load a tile of heads as two halves ``[heads, HALF]``, normalise and rotate them in fp32."""
    first = tl.load(row_ptr + offsets, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(row_ptr + offsets + HALF, mask=inside, other=0.0).to(tl.float32)
    in_half = dims < HALF
    if norm_ptr is not None:
        mean_square = (tl.sum(first * first, axis=1) + tl.sum(second * second, axis=1)) / (2 * HALF)
        inverse_rms = tl.rsqrt(mean_square + eps)[:, None]
        first = first * inverse_rms * tl.load(norm_ptr + dims, mask=in_half, other=0.0).to(tl.float32)[None, :]
        second = second * inverse_rms * tl.load(norm_ptr + HALF + dims, mask=in_half, other=0.0).to(tl.float32)[None, :]
    if cos_sin_ptr is not None:
        position = tl.load(positions_ptr + token).to(tl.int64)
        angle_ptr = cos_sin_ptr + position * (2 * HALF) + dims
        cos = tl.load(angle_ptr, mask=in_half, other=0.0)[None, :]
        sin = tl.load(angle_ptr + HALF, mask=in_half, other=0.0)[None, :]
        rotated_first = first * cos - second * sin
        second = second * cos + first * sin
        first = rotated_first
    return first, second


@triton.jit
def _store_halves(
    ptr: tl.tensor, offsets: tl.tensor, inside: tl.tensor, first: tl.tensor, second: tl.tensor, HALF: tl.constexpr
) -> None:
    tl.store(ptr + offsets, first.to(ptr.dtype.element_ty), mask=inside)
    tl.store(ptr + offsets + HALF, second.to(ptr.dtype.element_ty), mask=inside)
