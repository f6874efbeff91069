"""Decode attention of sequences that begin with the same keys: those are read once for many sequences.

The prefix kernel attends with tiles of several sequences' queries, as many as fill the tensor cores, and leaves fp32
partial results; ``suffix_attention`` attends to each sequence's own keys meanwhile and then adds them. Who is in the
group is read on the device and the grid follows from numbers known to the host: a CUDA graph serves every group and
every prefix.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from pagednb.kernels.launch import LOG2_E, check_cache, check_queries, dot_precision, overlap_options
from pagednb.kernels.output import output_like
from pagednb.kernels.paged_tile import attend_keys
from pagednb.kernels.suffix_attention import PrefixPartials, prefix_part_size, suffix_attention

NUM_PARTS = 4
MIN_PART_SIZE = 512
"""A prefix is cut by its length alone, so that it is summed alike in every batch. On an H200 each partial result costs
a batch of 512 rows about 5 us; without any, 16 rows would lose by a group whatever the length of its prefix."""


def shared_prefix_attention(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    block_tables: torch.Tensor,
    seq_lens: torch.Tensor,
    prefix_lens: torch.Tensor,
    *,
    scale: float,
    max_seq_len: int,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return attention of one query a sequence, ``[num_seqs, num_q_heads, head_dim]``. See reference_attention."""
    check_cache(k_cache, v_cache, q.shape[2])
    check_queries(q, k_cache, block_tables)
    assert prefix_lens.shape == seq_lens.shape, f"{list(seq_lens.shape)} lengths, {list(prefix_lens.shape)} prefixes"
    out = output_like(q, out)
    if q.shape[0] == 0:
        return out
    prefix = _attend_prefix(q, k_cache, v_cache, block_tables, seq_lens, prefix_lens, scale)
    suffix_attention(
        q,
        k_cache,
        v_cache,
        block_tables,
        seq_lens,
        prefix_lens,
        prefix=prefix,
        scale=scale,
        max_seq_len=max_seq_len,
        out=out,
    )
    return out


def _attend_prefix(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    block_tables: torch.Tensor,
    seq_lens: torch.Tensor,
    prefix_lens: torch.Tensor,
    scale: float,
) -> PrefixPartials:
    num_seqs, num_q_heads, head_dim = q.shape
    num_kv_heads = k_cache.shape[1]
    group = num_q_heads // num_kv_heads
    block_d = max(16, triton.next_power_of_2(head_dim))
    tile = _tile_launch(q.dtype, block_d, group)
    partials = PrefixPartials.empty(q, NUM_PARTS, MIN_PART_SIZE)
    num_tiles = triton.cdiv(num_seqs, tile["BLOCK_M"] // group)
    _prefix_kernel[(num_tiles, num_kv_heads, NUM_PARTS)](
        q,
        k_cache,
        v_cache,
        block_tables,
        seq_lens,
        prefix_lens,
        partials.results,
        partials.log_sums,
        q.stride(0),
        q.stride(1),
        block_tables.stride(0),
        scale * LOG2_E,
        num_seqs,
        NUM_KV_HEADS=num_kv_heads,
        GROUP=group,
        HEAD_DIM=head_dim,
        BLOCK_SIZE=k_cache.shape[2],
        NUM_PARTS=NUM_PARTS,
        MIN_PART_SIZE=MIN_PART_SIZE,
        BLOCK_D=block_d,
        PRECISION=dot_precision(q.dtype),
        OVERLAP=bool(overlap_options(q.device)),
        **tile,
    )
    return partials


def _tile_launch(dtype: torch.dtype, block_d: int, group: int) -> dict[str, int]:
    """Tile and pipeline sizes; a tile holds a group of heads at least."""
    smallest = max(16, triton.next_power_of_2(group))
    if dtype == torch.float32:  # multiplied without tensor cores: the tiles live in registers
        size = 32 if block_d <= 64 else 16
        return {"BLOCK_M": max(smallest, size), "BLOCK_N": size, "num_warps": 4, "num_stages": 2}
    return {"BLOCK_M": max(smallest, 64), "BLOCK_N": 64 if block_d <= 128 else 32, "num_warps": 4, "num_stages": 2}


# slices of the batch reach these pointers at any alignment; a compiled variant for each would only cost time
@triton.jit(
    do_not_specialize=["num_seqs"],
    do_not_specialize_on_alignment=["block_tables_ptr", "seq_lens_ptr", "prefix_lens_ptr"],
)
def _prefix_kernel(
    q_ptr: tl.tensor,
    k_cache_ptr: tl.tensor,
    v_cache_ptr: tl.tensor,
    block_tables_ptr: tl.tensor,
    seq_lens_ptr: tl.tensor,
    prefix_lens_ptr: tl.tensor,
    results_ptr: tl.tensor,
    log_sums_ptr: tl.tensor,
    q_stride_seq: tl.tensor,
    q_stride_head: tl.tensor,
    tables_stride: tl.tensor,
    scale_log2: tl.tensor,
    num_seqs: tl.tensor,
    NUM_KV_HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    NUM_PARTS: tl.constexpr,
    MIN_PART_SIZE: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
    OVERLAP: tl.constexpr,
) -> None:
    if OVERLAP:
        tl.extra.cuda.gdc_launch_dependents()
    NUM_TILE_SEQS: tl.constexpr = BLOCK_M // GROUP
    first_seq = tl.program_id(0) * NUM_TILE_SEQS
    kv_head = tl.program_id(1)
    part = tl.program_id(2)
    rows = tl.arange(0, BLOCK_M)
    seqs = first_seq + rows // GROUP
    in_tile = (rows < NUM_TILE_SEQS * GROUP) & (seqs < num_seqs)
    prefix_lens = tl.load(prefix_lens_ptr + seqs, mask=in_tile, other=0)
    is_member = (prefix_lens > 0) & (prefix_lens < tl.load(seq_lens_ptr + seqs, mask=in_tile, other=0))
    member = tl.max(tl.where(is_member, seqs, -1), axis=0)  # its table serves them all
    if member < 0:
        return
    prefix_len = tl.max(tl.where(is_member, prefix_lens, 0), axis=0)
    part_size = prefix_part_size(prefix_len, NUM_PARTS, MIN_PART_SIZE)
    start = part * part_size
    end = tl.minimum(start + part_size, prefix_len)
    if end <= start:
        return

    dims = tl.arange(0, BLOCK_D)
    heads = seqs.to(tl.int64) * (NUM_KV_HEADS * GROUP) + kv_head * GROUP + rows % GROUP
    inside = is_member[:, None] & (dims < HEAD_DIM)[None, :]
    q_offsets = seqs.to(tl.int64) * q_stride_seq + (kv_head * GROUP + rows % GROUP) * q_stride_head
    q = tl.load(q_ptr + q_offsets[:, None] + dims[None, :], mask=inside, other=0.0)

    table_ptr = block_tables_ptr + member.to(tl.int64) * tables_stride
    acc = tl.zeros([BLOCK_M, BLOCK_D], dtype=tl.float32)
    row_max = tl.full([BLOCK_M], float("-inf"), dtype=tl.float32)
    row_sum = tl.zeros([BLOCK_M], dtype=tl.float32)
    full_end = start + (end - start) // BLOCK_N * BLOCK_N
    acc, row_max, row_sum = attend_keys(
        acc, row_max, row_sum, q, k_cache_ptr, v_cache_ptr, table_ptr, start, full_end, kv_head, scale_log2,
        False, NUM_KV_HEADS, HEAD_DIM, BLOCK_SIZE, BLOCK_N, BLOCK_D, PRECISION,
    )  # fmt: skip
    if full_end < end:
        acc, row_max, row_sum = attend_keys(
            acc, row_max, row_sum, q, k_cache_ptr, v_cache_ptr, table_ptr, full_end, end, kv_head, scale_log2,
            True, NUM_KV_HEADS, HEAD_DIM, BLOCK_SIZE, BLOCK_N, BLOCK_D, PRECISION,
        )  # fmt: skip

    partial = heads * NUM_PARTS + part
    tl.store(results_ptr + partial[:, None] * HEAD_DIM + dims[None, :], acc / row_sum[:, None], mask=inside)
    tl.store(log_sums_ptr + partial, row_max + tl.log2(row_sum), mask=is_member)
