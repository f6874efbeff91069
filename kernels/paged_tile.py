"""Device functions shared by the attention kernels: finding and loading tiles of the paged cache, softmax by tiles.

A cache is ``[num_blocks, num_kv_heads, block_size, head_dim]``, contiguous. Masked rows load as zeros: a weight of zero
would not silence a NaN in an unused slot.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def slot_rows(
    table_ptr: tl.tensor,
    key_pos: tl.tensor,
    in_range: tl.tensor,
    kv_head: tl.tensor,
    NUM_KV_HEADS: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    HEAD_DIM: tl.constexpr,
) -> tl.tensor:
    """Return the int64 offset of each key position's row in the cache; positions out of range read no table entry."""
    block = tl.load(table_ptr + key_pos // BLOCK_SIZE, mask=in_range, other=0).to(tl.int64)
    return ((block * NUM_KV_HEADS + kv_head) * BLOCK_SIZE + key_pos % BLOCK_SIZE) * HEAD_DIM


@triton.jit
def load_rows(
    cache_ptr: tl.tensor,
    rows: tl.tensor,
    in_range: tl.tensor,
    MASKED: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
) -> tl.tensor:
    """Load ``[num_rows, BLOCK_D]``; zeros beyond the head and, if MASKED, in rows out of range."""
    dims = tl.arange(0, BLOCK_D)
    ptrs = cache_ptr + rows[:, None] + dims[None, :]
    if MASKED:
        return tl.load(ptrs, mask=in_range[:, None] & (dims < HEAD_DIM)[None, :], other=0.0)
    elif HEAD_DIM < BLOCK_D:
        return tl.load(ptrs, mask=(dims < HEAD_DIM)[None, :], other=0.0)
    else:
        return tl.load(ptrs)


@triton.jit
def softmax_step(
    acc: tl.tensor,
    row_max: tl.tensor,
    row_sum: tl.tensor,
    scores: tl.tensor,
    MAY_BE_EMPTY: tl.constexpr,
    scale_log2: tl.tensor = 1.0,
) -> tuple[tl.tensor, ...]:
    """Fold a tile of scores into the running softmax; return (scaled acc, row_max, row_sum, weights).

    scale_log2: positive factor that makes the scores base-2 ones; applied here, it is one fused operation with the
        shift by the maximum.
    MAY_BE_EMPTY: some row may have met no visible key yet, its maximum being -inf.
    """
    new_max = tl.maximum(row_max, tl.max(scores, axis=1) * scale_log2)
    shift = new_max
    if MAY_BE_EMPTY:
        shift = tl.where(new_max == float("-inf"), 0.0, new_max)
    weights = tl.exp2(scores * scale_log2 - shift[:, None])
    decay = tl.exp2(row_max - shift)
    return acc * decay[:, None], new_max, row_sum * decay + tl.sum(weights, axis=1), weights


@triton.jit
def attend_keys(
    acc: tl.tensor,
    row_max: tl.tensor,
    row_sum: tl.tensor,
    q: tl.tensor,
    k_cache_ptr: tl.tensor,
    v_cache_ptr: tl.tensor,
    table_ptr: tl.tensor,
    begin: tl.tensor,
    end: tl.tensor,
    kv_head: tl.tensor,
    scale_log2: tl.tensor,
    MASKED: tl.constexpr,
    NUM_KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tuple[tl.tensor, ...]:
    """Fold the keys ``[begin, end)`` into the running softmax; without MASKED they fill whole tiles."""
    for tile_start in tl.range(begin, end, BLOCK_N):
        key_pos = tile_start + tl.arange(0, BLOCK_N)
        visible = key_pos < end
        cache_rows = slot_rows(table_ptr, key_pos, visible, kv_head, NUM_KV_HEADS, BLOCK_SIZE, HEAD_DIM)
        k = load_rows(k_cache_ptr, cache_rows, visible, MASKED, HEAD_DIM, BLOCK_D)
        scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale_log2
        if MASKED:
            scores = tl.where(visible[None, :], scores, float("-inf"))
        acc, row_max, row_sum, weights = softmax_step(acc, row_max, row_sum, scores, False)
        v = load_rows(v_cache_ptr, cache_rows, visible, MASKED, HEAD_DIM, BLOCK_D)
        acc = tl.dot(weights.to(v.dtype), v, acc, input_precision=PRECISION)
    return acc, row_max, row_sum
