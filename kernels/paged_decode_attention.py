"""Decode attention: one query a sequence over its paged keys, split along the sequence.

The split *size* is fixed, so a sequence is summed in the same order whatever else is in the batch. Query heads that
share a KV head form the rows of one tile: every key is read once a group. The grid depends on host-known bounds only;
splits that lie past a sequence's end, or before its window, exit at once. A sequence with a single live split is
finished by the first kernel; the others leave fp32 partial results, which the second kernel adds up.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from pagednb.kernels.launch import check_cache, check_queries, dot_precision
from pagednb.kernels.paged_tile import load_rows, slot_rows, softmax_step

MIN_SPLIT_SIZE = 256
MAX_SPLITS = 64
"""Beyond ``MAX_SPLITS * MIN_SPLIT_SIZE`` tokens splits grow instead of their number, which bounds the scratch."""

_LOG2_E = 1.4426950408889634


def paged_decode_attention(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    block_tables: torch.Tensor,
    seq_lens: torch.Tensor,
    *,
    scale: float,
    max_seq_len: int,
    sliding_window: int | None = None,
) -> torch.Tensor:
    """Return attention of one query a sequence, ``[num_seqs, num_q_heads, head_dim]``. See reference_attention."""
    num_seqs, num_q_heads, head_dim = q.shape
    _, num_kv_heads, block_size, _ = k_cache.shape
    check_cache(k_cache, v_cache, head_dim)
    check_queries(q, k_cache, block_tables)
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    if num_seqs == 0:
        return out
    split_size, num_splits = decode_splits(max_seq_len)
    partials = torch.empty((num_seqs, num_q_heads, num_splits, head_dim), dtype=torch.float32, device=q.device)
    log_sums = torch.empty((num_seqs, num_q_heads, num_splits), dtype=torch.float32, device=q.device)
    head = {"HEAD_DIM": head_dim, "BLOCK_D": max(16, triton.next_power_of_2(head_dim))}
    window = {"SPLIT_SIZE": split_size, "WINDOW": sliding_window or 0}
    group = num_q_heads // num_kv_heads
    _split_kernel[(num_kv_heads, num_splits, num_seqs)](
        q,
        k_cache,
        v_cache,
        block_tables,
        seq_lens,
        out,
        partials,
        log_sums,
        q.stride(0),
        q.stride(1),
        block_tables.stride(0),
        scale * _LOG2_E,
        num_splits,
        NUM_KV_HEADS=num_kv_heads,
        GROUP=group,
        BLOCK_SIZE=block_size,
        BLOCK_M=max(16, triton.next_power_of_2(group)),
        PRECISION=dot_precision(q.dtype),
        **_split_launch(q.dtype, head["BLOCK_D"]),
        **head,
        **window,
    )
    if num_splits > 1:
        _reduce_kernel[(num_q_heads, num_seqs)](
            partials,
            log_sums,
            seq_lens,
            out,
            num_splits,
            SPLITS_BLOCK=triton.next_power_of_2(num_splits),
            **head,
            **window,
        )
    return out


def decode_splits(max_seq_len: int) -> tuple[int, int]:
    """Return (split size, number of splits) for sequences of up to ``max_seq_len`` tokens."""
    split_size = max(MIN_SPLIT_SIZE, triton.next_power_of_2(triton.cdiv(max_seq_len, MAX_SPLITS)))
    return split_size, triton.cdiv(max_seq_len, split_size)


def _split_launch(dtype: torch.dtype, block_d: int) -> dict[str, int]:
    if dtype == torch.float32:
        return {"BLOCK_N": 32 if block_d <= 64 else 16, "num_warps": 4, "num_stages": 2}
    return {"BLOCK_N": 128 if block_d <= 128 else 64, "num_warps": 4, "num_stages": 2}


# slices of the batch reach these pointers at any alignment; a compiled variant for each would only cost time
@triton.jit(do_not_specialize=["num_splits"], do_not_specialize_on_alignment=["block_tables_ptr", "seq_lens_ptr"])
def _split_kernel(
    q_ptr: tl.tensor,
    k_cache_ptr: tl.tensor,
    v_cache_ptr: tl.tensor,
    block_tables_ptr: tl.tensor,
    seq_lens_ptr: tl.tensor,
    out_ptr: tl.tensor,
    partials_ptr: tl.tensor,
    log_sums_ptr: tl.tensor,
    q_stride_seq: tl.tensor,
    q_stride_head: tl.tensor,
    tables_stride: tl.tensor,
    scale_log2: tl.tensor,
    num_splits: tl.tensor,
    NUM_KV_HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    SPLIT_SIZE: tl.constexpr,
    WINDOW: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    kv_head = tl.program_id(0)
    split = tl.program_id(1)
    seq = tl.program_id(2).to(tl.int64)
    seq_len = tl.load(seq_lens_ptr + seq)
    first_key = _first_key(seq_len, WINDOW)
    start = split * SPLIT_SIZE
    end = tl.minimum(start + SPLIT_SIZE, seq_len)
    if end <= tl.maximum(start, first_key):
        return

    rows = tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    q_heads = kv_head * GROUP + rows
    inside = (rows < GROUP)[:, None] & (dims < HEAD_DIM)[None, :]
    q_offsets = seq * q_stride_seq + q_heads[:, None] * q_stride_head + dims[None, :]
    q = tl.load(q_ptr + q_offsets, mask=inside, other=0.0)

    table_ptr = block_tables_ptr + seq * tables_stride
    acc = tl.zeros([BLOCK_M, BLOCK_D], dtype=tl.float32)
    row_max = tl.full([BLOCK_M], float("-inf"), dtype=tl.float32)
    row_sum = tl.zeros([BLOCK_M], dtype=tl.float32)
    # tiles begin at multiples of BLOCK_N, the first one holds first_key: no tile is without a visible key
    begin = tl.maximum(start, first_key // BLOCK_N * BLOCK_N)
    for tile_start in tl.range(begin, end, BLOCK_N):
        key_pos = tile_start + tl.arange(0, BLOCK_N)
        visible = key_pos < end
        if WINDOW > 0:
            visible = visible & (key_pos >= first_key)
        cache_rows = slot_rows(table_ptr, key_pos, visible, kv_head, NUM_KV_HEADS, BLOCK_SIZE, HEAD_DIM)
        k = load_rows(k_cache_ptr, cache_rows, visible, True, HEAD_DIM, BLOCK_D)
        scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale_log2
        scores = tl.where(visible[None, :], scores, float("-inf"))
        acc, row_max, row_sum, weights = softmax_step(acc, row_max, row_sum, scores, False)
        v = load_rows(v_cache_ptr, cache_rows, visible, True, HEAD_DIM, BLOCK_D)
        acc = tl.dot(weights.to(v.dtype), v, acc, input_precision=PRECISION)

    result = acc / row_sum[:, None]
    heads = seq * (NUM_KV_HEADS * GROUP) + q_heads
    if _num_live_splits(seq_len, first_key, SPLIT_SIZE) == 1:
        tl.store(out_ptr + heads[:, None] * HEAD_DIM + dims[None, :], result.to(out_ptr.dtype.element_ty), mask=inside)
    else:
        partial = heads * num_splits + split
        tl.store(partials_ptr + partial[:, None] * HEAD_DIM + dims[None, :], result, mask=inside)
        tl.store(log_sums_ptr + partial, row_max + tl.log2(row_sum), mask=rows < GROUP)


@triton.jit(do_not_specialize=["num_splits"], do_not_specialize_on_alignment=["seq_lens_ptr"])
def _reduce_kernel(
    partials_ptr: tl.tensor,
    log_sums_ptr: tl.tensor,
    seq_lens_ptr: tl.tensor,
    out_ptr: tl.tensor,
    num_splits: tl.tensor,
    SPLITS_BLOCK: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    SPLIT_SIZE: tl.constexpr,
    WINDOW: tl.constexpr,
) -> None:
    seq = tl.program_id(1).to(tl.int64)
    head = seq * tl.num_programs(0) + tl.program_id(0)
    seq_len = tl.load(seq_lens_ptr + seq)
    first_key = _first_key(seq_len, WINDOW)
    if _num_live_splits(seq_len, first_key, SPLIT_SIZE) == 1:
        return

    splits = tl.arange(0, SPLITS_BLOCK)
    dims = tl.arange(0, BLOCK_D)
    live = (splits >= first_key // SPLIT_SIZE) & (splits * SPLIT_SIZE < seq_len)
    inside = live[:, None] & (dims < HEAD_DIM)[None, :]
    partial = head * num_splits + splits
    log_sums = tl.load(log_sums_ptr + partial, mask=live, other=float("-inf"))
    results = tl.load(partials_ptr + partial[:, None] * HEAD_DIM + dims[None, :], mask=inside, other=0.0)

    weights = tl.exp2(log_sums - tl.max(log_sums, axis=0))
    result = tl.sum(results * weights[:, None], axis=0) / tl.sum(weights, axis=0)

    tl.store(out_ptr + head * HEAD_DIM + dims, result.to(out_ptr.dtype.element_ty), mask=dims < HEAD_DIM)


@triton.jit
def _first_key(seq_len: tl.tensor, WINDOW: tl.constexpr) -> tl.tensor:
    if WINDOW > 0:
        return tl.maximum(seq_len - WINDOW, 0)
    else:
        return seq_len * 0


@triton.jit
def _num_live_splits(seq_len: tl.tensor, first_key: tl.tensor, SPLIT_SIZE: tl.constexpr) -> tl.tensor:
    return tl.cdiv(seq_len, SPLIT_SIZE) - first_key // SPLIT_SIZE
