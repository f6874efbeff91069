"""Decode attention: one query a sequence over its paged keys, summed in an order that no batch can change.

Keys are summed tile by tile within a split of fixed size, and split by split. A program takes a whole split, or, where
whole splits would leave most of the GPU idle, a single tile; either way the sums are merged in the same order by the
same arithmetic, so the result has the same bits. Query heads that share a KV head form the rows of one tile: every key
is read once a group. The grid depends on host-known bounds only; programs whose part lies past a sequence's end, or
before its window, exit at once. A sequence with a single live part is finished by the first kernel; the others leave
fp32 partial sums, which the second kernel merges.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from pagednb.kernels.attention_parts import first_visible_key, merge_kernel, merge_scales
from pagednb.kernels.launch import check_cache, check_queries, dot_precision, overlap_options
from pagednb.kernels.output import output_like
from pagednb.kernels.paged_tile import load_rows, slot_rows

MIN_SPLIT_SIZE = 1024
MAX_SPLITS = 64
"""Beyond ``MAX_SPLITS * MIN_SPLIT_SIZE`` tokens splits grow instead of their number, which bounds the scratch."""
FEW_PROGRAMS = 128
"""About a GPU's multiprocessors. Up to so many programs with a split each, it is better that each takes a tile."""
MAX_TILES = 64
"""Longer sequences are never taken tile by tile: merging so many partial sums takes longer than it saves."""
MANY_HEADS = 4096
"""With more heads of all sequences, starting a merging program for each costs more than its wider rows."""

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
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return attention of one query a sequence, ``[num_seqs, num_q_heads, head_dim]``. See reference_attention."""
    num_seqs, num_q_heads, head_dim = q.shape
    _, num_kv_heads, block_size, _ = k_cache.shape
    check_cache(k_cache, v_cache, head_dim)
    check_queries(q, k_cache, block_tables)
    out = output_like(q, out)
    if num_seqs == 0:
        return out
    head = {"HEAD_DIM": head_dim, "BLOCK_D": max(16, triton.next_power_of_2(head_dim))}
    tile = _tile_launch(q.dtype, head["BLOCK_D"])
    split_size, _ = decode_splits(max_seq_len)
    part_size = decode_part_size(num_seqs * num_kv_heads, max_seq_len, split_size, tile["BLOCK_N"])
    num_parts = triton.cdiv(max_seq_len, part_size)
    sums = torch.empty((num_seqs, num_q_heads, num_parts, head_dim), dtype=torch.float32, device=q.device)
    scalars = torch.empty((num_seqs, num_q_heads, num_parts, 2), dtype=torch.float32, device=q.device)
    group = num_q_heads // num_kv_heads
    overlap = overlap_options(q.device)
    _part_kernel[(num_kv_heads, num_seqs, num_parts)](
        q,
        k_cache,
        v_cache,
        block_tables,
        seq_lens,
        out,
        sums,
        scalars,
        q.stride(0),
        q.stride(1),
        block_tables.stride(0),
        scale * _LOG2_E,
        part_size,
        num_parts,
        NUM_KV_HEADS=num_kv_heads,
        GROUP=group,
        BLOCK_SIZE=block_size,
        WINDOW=sliding_window or 0,
        BLOCK_M=max(16, triton.next_power_of_2(group)),
        PRECISION=dot_precision(q.dtype),
        OVERLAP=bool(overlap),
        **tile,
        **head,
    )
    if num_parts > 1:
        block_heads = 8 if num_seqs * num_q_heads > MANY_HEADS else 1
        merge_kernel[(triton.cdiv(num_q_heads, block_heads), num_seqs)](
            sums,
            scalars,
            seq_lens,
            out,
            part_size,
            num_parts,
            split_size // part_size,
            NUM_HEADS=num_q_heads,
            WINDOW=sliding_window or 0,
            BLOCK_HEADS=block_heads,
            UNROLL=min(16 // block_heads, triton.next_power_of_2(num_parts)),
            OVERLAP=bool(overlap),
            num_warps=1,
            **head,
            **overlap,
        )
    return out


def decode_splits(max_seq_len: int) -> tuple[int, int]:
    """Return (split size, number of splits) for sequences of up to ``max_seq_len`` tokens."""
    split_size = max(MIN_SPLIT_SIZE, triton.next_power_of_2(triton.cdiv(max_seq_len, MAX_SPLITS)))
    return split_size, triton.cdiv(max_seq_len, split_size)


def decode_part_size(num_rows: int, max_seq_len: int, split_size: int, tile_size: int) -> int:
    """Return how many keys a program takes, a tile or a split; ``num_rows`` counts KV heads of all sequences."""
    num_programs = num_rows * triton.cdiv(max_seq_len, split_size)
    by_tile = num_programs <= FEW_PROGRAMS and max_seq_len <= MAX_TILES * tile_size
    return tile_size if by_tile else split_size


def _tile_launch(dtype: torch.dtype, block_d: int) -> dict[str, int]:
    if dtype == torch.float32:
        return {"BLOCK_N": 32 if block_d <= 64 else 16, "num_warps": 4, "num_stages": 2}
    return {"BLOCK_N": 128 if block_d <= 128 else 64, "num_warps": 4, "num_stages": 2}


# one compiled kernel serves parts of both sizes, or their sums could differ; slices of the batch reach these pointers
# at any alignment, and a compiled variant for each would only cost time
@triton.jit(
    do_not_specialize=["part_size", "num_parts"], do_not_specialize_on_alignment=["block_tables_ptr", "seq_lens_ptr"]
)
def _part_kernel(
    q_ptr: tl.tensor,
    k_cache_ptr: tl.tensor,
    v_cache_ptr: tl.tensor,
    block_tables_ptr: tl.tensor,
    seq_lens_ptr: tl.tensor,
    out_ptr: tl.tensor,
    sums_ptr: tl.tensor,
    scalars_ptr: tl.tensor,
    q_stride_seq: tl.tensor,
    q_stride_head: tl.tensor,
    tables_stride: tl.tensor,
    scale_log2: tl.tensor,
    part_size: tl.tensor,
    num_parts: tl.tensor,
    NUM_KV_HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    WINDOW: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
    OVERLAP: tl.constexpr,
) -> None:
    if OVERLAP:
        tl.extra.cuda.gdc_launch_dependents()
    kv_head = tl.program_id(0)
    seq = tl.program_id(1).to(tl.int64)
    part = tl.program_id(2)
    seq_len = tl.load(seq_lens_ptr + seq)
    first_key = first_visible_key(seq_len, WINDOW)
    start = part * part_size
    end = tl.minimum(start + part_size, seq_len)
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
    # the first tile holds first_key: no tile is without a visible key
    for tile in tl.range(tl.maximum(start, first_key) // BLOCK_N, tl.cdiv(end, BLOCK_N)):
        key_pos = tile * BLOCK_N + tl.arange(0, BLOCK_N)
        visible = key_pos < end
        if WINDOW > 0:
            visible = visible & (key_pos >= first_key)
        cache_rows = slot_rows(table_ptr, key_pos, visible, kv_head, NUM_KV_HEADS, BLOCK_SIZE, HEAD_DIM)
        k = load_rows(k_cache_ptr, cache_rows, visible, True, HEAD_DIM, BLOCK_D)
        scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale_log2
        scores = tl.where(visible[None, :], scores, float("-inf"))
        tile_max = tl.max(scores, axis=1)
        weights = tl.exp2(scores - tile_max[:, None])
        v = load_rows(v_cache_ptr, cache_rows, visible, True, HEAD_DIM, BLOCK_D)
        tile_acc = tl.dot(weights.to(v.dtype), v, input_precision=PRECISION)
        keep, take, row_max = merge_scales(row_max, tile_max)
        row_sum = tl.fma(row_sum, keep, tl.sum(weights, axis=1) * take)
        acc = tl.fma(acc, keep[:, None], tile_acc * take[:, None])

    heads = seq * (NUM_KV_HEADS * GROUP) + q_heads
    if tl.cdiv(seq_len, part_size) - first_key // part_size == 1:
        result = (acc / row_sum[:, None]).to(out_ptr.dtype.element_ty)
        tl.store(out_ptr + heads[:, None] * HEAD_DIM + dims[None, :], result, mask=inside)
    else:
        partial = heads * num_parts + part
        tl.store(sums_ptr + partial[:, None] * HEAD_DIM + dims[None, :], acc, mask=inside)
        tl.store(scalars_ptr + partial * 2, row_max, mask=rows < GROUP)
        tl.store(scalars_ptr + partial * 2 + 1, row_sum, mask=rows < GROUP)
