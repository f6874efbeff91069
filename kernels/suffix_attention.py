"""The second half of shared-prefix attention: each sequence's own keys, joined to what its group has in common.

As in decode attention a sequence is split along its keys, counted from the end of the prefix. The first split takes in
the prefix kernel's partial results; a sequence with a single split is finished by that, the others are added up by the
reduce kernel.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from pagednb.kernels.launch import LOG2_E, dot_precision, overlap_options
from pagednb.kernels.paged_tile import attend_keys

MIN_SPLIT_SIZE = 1024
MAX_SPLITS = 64
"""Splits are long: a group is worth it among many rows only, and those fill the device without being cut."""


class PrefixPartials(NamedTuple):
    """Attention over parts of a prefix; what belongs to sequences without one, or to parts past its end, is not set.

    Attributes:
        results: fp32 ``[num_seqs, num_q_heads, num_parts, head_dim]``, each part normalised by itself.
        log_sums: fp32 ``[num_seqs, num_q_heads, num_parts]``, base-2 logarithms of their weights.
        min_part_size: see ``prefix_part_size``.
    """

    results: torch.Tensor
    log_sums: torch.Tensor
    min_part_size: int

    @staticmethod
    def empty(q: torch.Tensor, num_parts: int, min_part_size: int) -> PrefixPartials:
        """Return room for the partial results of ``q`` ``[num_seqs, num_q_heads, head_dim]``."""
        return PrefixPartials(*_empty_partials(q, num_parts), min_part_size)


def suffix_attention(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    block_tables: torch.Tensor,
    seq_lens: torch.Tensor,
    prefix_lens: torch.Tensor,
    *,
    prefix: PrefixPartials,
    scale: float,
    max_seq_len: int,
    out: torch.Tensor,
) -> None:
    """Attend to the keys from ``prefix_lens`` on, add ``prefix``, and write ``out``. See shared_prefix_attention."""
    num_seqs, num_q_heads, head_dim = q.shape
    num_kv_heads = k_cache.shape[1]
    group = num_q_heads // num_kv_heads
    split_size, num_splits = _splits(max_seq_len)
    partials = _empty_partials(q, num_splits if num_splits > 1 else 0)
    head = {"HEAD_DIM": head_dim, "BLOCK_D": max(16, triton.next_power_of_2(head_dim)), "SPLIT_SIZE": split_size}
    overlap = overlap_options(q.device)
    _suffix_kernel[(num_kv_heads, num_seqs, num_splits)](
        q,
        k_cache,
        v_cache,
        block_tables,
        seq_lens,
        prefix_lens,
        prefix.results,
        prefix.log_sums,
        out,
        *partials,
        q.stride(0),
        q.stride(1),
        block_tables.stride(0),
        scale * LOG2_E,
        num_splits,
        NUM_KV_HEADS=num_kv_heads,
        GROUP=group,
        BLOCK_SIZE=k_cache.shape[2],
        NUM_PREFIX_PARTS=prefix.log_sums.shape[2],
        MIN_PART_SIZE=prefix.min_part_size,
        BLOCK_M=max(16, triton.next_power_of_2(group)),
        PRECISION=dot_precision(q.dtype),
        OVERLAP=bool(overlap),
        **_launch(q.dtype, head["BLOCK_D"]),
        **head,
        **overlap,
    )
    if num_splits > 1:
        _reduce_kernel[(num_q_heads, num_seqs)](
            *partials, seq_lens, prefix_lens, out, num_splits, SPLITS_BLOCK=triton.next_power_of_2(num_splits), **head
        )


def _empty_partials(q: torch.Tensor, num_parts: int) -> tuple[torch.Tensor, torch.Tensor]:
    num_seqs, num_q_heads, head_dim = q.shape
    results = torch.empty((num_seqs, num_q_heads, num_parts, head_dim), dtype=torch.float32, device=q.device)
    return results, torch.empty(results.shape[:3], dtype=torch.float32, device=q.device)


def _splits(max_seq_len: int) -> tuple[int, int]:
    """Return (split size, number of splits) for sequences of up to ``max_seq_len`` tokens."""
    split_size = max(MIN_SPLIT_SIZE, triton.next_power_of_2(triton.cdiv(max_seq_len, MAX_SPLITS)))
    return split_size, triton.cdiv(max_seq_len, split_size)


def _launch(dtype: torch.dtype, block_d: int) -> dict[str, int]:
    if dtype == torch.float32:
        return {"BLOCK_N": 32 if block_d <= 64 else 16, "num_warps": 4, "num_stages": 2}
    # suffixes are short: on an H200 64 keys are as fast as 32 and faster than 128
    return {"BLOCK_N": 64, "num_warps": 4, "num_stages": 2}


@triton.jit
def prefix_part_size(prefix_len: tl.tensor, NUM_PARTS: tl.constexpr, MIN_PART_SIZE: tl.constexpr) -> tl.tensor:
    """Return the size of the parts that a prefix is cut into: the same multiple of MIN_PART_SIZE for all."""
    return tl.cdiv(prefix_len, NUM_PARTS * MIN_PART_SIZE) * MIN_PART_SIZE


@triton.jit(
    do_not_specialize=["num_splits"],
    do_not_specialize_on_alignment=["block_tables_ptr", "seq_lens_ptr", "prefix_lens_ptr"],
)
def _suffix_kernel(
    q_ptr: tl.tensor,
    k_cache_ptr: tl.tensor,
    v_cache_ptr: tl.tensor,
    block_tables_ptr: tl.tensor,
    seq_lens_ptr: tl.tensor,
    prefix_lens_ptr: tl.tensor,
    prefix_results_ptr: tl.tensor,
    prefix_log_sums_ptr: tl.tensor,
    out_ptr: tl.tensor,
    results_ptr: tl.tensor,
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
    NUM_PREFIX_PARTS: tl.constexpr,
    MIN_PART_SIZE: tl.constexpr,
    SPLIT_SIZE: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
    OVERLAP: tl.constexpr,
) -> None:
    kv_head = tl.program_id(0)
    seq = tl.program_id(1).to(tl.int64)
    split = tl.program_id(2)
    seq_len = tl.load(seq_lens_ptr + seq)
    prefix_len = _member_prefix(tl.load(prefix_lens_ptr + seq), seq_len)
    start = prefix_len + split * SPLIT_SIZE
    end = tl.minimum(start + SPLIT_SIZE, seq_len)
    if end <= start:
        if OVERLAP:
            tl.extra.cuda.gdc_wait()  # the next kernel waits for this one only
        return

    rows = tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    q_heads = kv_head * GROUP + rows
    heads = seq * (NUM_KV_HEADS * GROUP) + q_heads
    inside = (rows < GROUP)[:, None] & (dims < HEAD_DIM)[None, :]
    q_offsets = seq * q_stride_seq + q_heads[:, None] * q_stride_head + dims[None, :]
    q = tl.load(q_ptr + q_offsets, mask=inside, other=0.0)

    acc = tl.zeros([BLOCK_M, BLOCK_D], dtype=tl.float32)
    row_max = tl.full([BLOCK_M], float("-inf"), dtype=tl.float32)
    row_sum = tl.zeros([BLOCK_M], dtype=tl.float32)
    table_ptr = block_tables_ptr + seq * tables_stride
    acc, row_max, row_sum = attend_keys(
        acc, row_max, row_sum, q, k_cache_ptr, v_cache_ptr, table_ptr, start, end, kv_head, scale_log2,
        True, NUM_KV_HEADS, HEAD_DIM, BLOCK_SIZE, BLOCK_N, BLOCK_D, PRECISION,
    )  # fmt: skip
    if split == 0:  # it ends with what the prefix kernel leaves
        if OVERLAP:
            tl.extra.cuda.gdc_wait()
        part_size = prefix_part_size(prefix_len, NUM_PREFIX_PARTS, MIN_PART_SIZE)
        for part in tl.static_range(NUM_PREFIX_PARTS):
            is_live = rows < tl.where(part * part_size < prefix_len, GROUP, 0)
            partial = heads * NUM_PREFIX_PARTS + part
            log_sum = tl.load(prefix_log_sums_ptr + partial, mask=is_live, other=float("-inf"))
            offsets = partial[:, None] * HEAD_DIM + dims[None, :]
            result = tl.load(prefix_results_ptr + offsets, mask=is_live[:, None] & inside, other=0.0)
            acc, row_max, row_sum = _add_partial(acc, row_max, row_sum, result, log_sum)

    result = acc / row_sum[:, None]
    if seq_len - prefix_len <= SPLIT_SIZE:
        tl.store(out_ptr + heads[:, None] * HEAD_DIM + dims[None, :], result.to(out_ptr.dtype.element_ty), mask=inside)
    else:
        partial = heads * num_splits + split
        tl.store(results_ptr + partial[:, None] * HEAD_DIM + dims[None, :], result, mask=inside)
        tl.store(log_sums_ptr + partial, row_max + tl.log2(row_sum), mask=rows < GROUP)


@triton.jit
def _member_prefix(prefix_len: tl.tensor, seq_len: tl.tensor) -> tl.tensor:
    return tl.where(prefix_len < seq_len, prefix_len, 0)


@triton.jit
def _add_partial(
    acc: tl.tensor, row_max: tl.tensor, row_sum: tl.tensor, result: tl.tensor, log_sum: tl.tensor
) -> tuple[tl.tensor, ...]:
    """Fold a normalised result of weight ``2 ** log_sum`` into a running softmax that has met a key."""
    new_max = tl.maximum(row_max, log_sum)
    decay = tl.exp2(row_max - new_max)
    weight = tl.exp2(log_sum - new_max)
    return acc * decay[:, None] + result * weight[:, None], new_max, row_sum * decay + weight


@triton.jit(do_not_specialize=["num_splits"], do_not_specialize_on_alignment=["seq_lens_ptr", "prefix_lens_ptr"])
def _reduce_kernel(
    results_ptr: tl.tensor,
    log_sums_ptr: tl.tensor,
    seq_lens_ptr: tl.tensor,
    prefix_lens_ptr: tl.tensor,
    out_ptr: tl.tensor,
    num_splits: tl.tensor,
    SPLITS_BLOCK: tl.constexpr,
    SPLIT_SIZE: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
) -> None:
    seq = tl.program_id(1).to(tl.int64)
    head = seq * tl.num_programs(0) + tl.program_id(0)
    seq_len = tl.load(seq_lens_ptr + seq)
    suffix_len = seq_len - _member_prefix(tl.load(prefix_lens_ptr + seq), seq_len)
    if suffix_len <= SPLIT_SIZE:
        return

    splits = tl.arange(0, SPLITS_BLOCK)
    dims = tl.arange(0, BLOCK_D)
    live = splits * SPLIT_SIZE < suffix_len
    partial = head * num_splits + splits
    log_sums = tl.load(log_sums_ptr + partial, mask=live, other=float("-inf"))
    offsets = partial[:, None] * HEAD_DIM + dims[None, :]
    results = tl.load(results_ptr + offsets, mask=live[:, None] & (dims < HEAD_DIM)[None, :], other=0.0)

    weights = tl.exp2(log_sums - tl.max(log_sums, axis=0))
    result = tl.sum(results * weights[:, None], axis=0) / tl.sum(weights, axis=0)

    tl.store(out_ptr + head * HEAD_DIM + dims, result.to(out_ptr.dtype.element_ty), mask=dims < HEAD_DIM)
