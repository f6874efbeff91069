"""Partial sums of attention over parts of a sequence, merged in an order that depends on the sequence alone.

A sum is (keys' values weighted by 2^(score - maximum), the maximum, the weights' sum). Parts lie within splits: the
parts of a split are merged one after another, then the splits. Additions and products are written as fused operations,
so that no compiler can round them differently in different kernels.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(
    do_not_specialize=["part_size", "num_parts", "parts_per_split"], do_not_specialize_on_alignment=["seq_lens_ptr"]
)
def merge_kernel(
    sums_ptr: tl.tensor,
    scalars_ptr: tl.tensor,
    seq_lens_ptr: tl.tensor,
    out_ptr: tl.tensor,
    part_size: tl.tensor,
    num_parts: tl.tensor,
    parts_per_split: tl.tensor,
    NUM_HEADS: tl.constexpr,
    WINDOW: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
    UNROLL: tl.constexpr,
    OVERLAP: tl.constexpr,
) -> None:
    """Write the results of some heads of one sequence, unless it has a single part.

    Grid: (blocks of BLOCK_HEADS query heads, num_seqs).
    sums_ptr: fp32 ``[num_seqs, NUM_HEADS, num_parts, HEAD_DIM]``.
    scalars_ptr: fp32 ``[num_seqs, NUM_HEADS, num_parts, 2]``, maxima and sums of weights.
    parts_per_split: parts of ``part_size`` keys in a split.
    UNROLL: how many parts are loaded at once; it changes no result.
    """
    if OVERLAP:
        tl.extra.cuda.gdc_wait()  # before any exit: the next kernel waits for this one only
    seq = tl.program_id(1).to(tl.int64)
    seq_len = tl.load(seq_lens_ptr + seq)
    first_part = first_visible_key(seq_len, WINDOW) // part_size
    end_part = tl.cdiv(seq_len, part_size)
    if end_part - first_part == 1:
        return

    heads = tl.program_id(0) * BLOCK_HEADS + tl.arange(0, BLOCK_HEADS)
    dims = tl.arange(0, BLOCK_D)
    rows = seq * NUM_HEADS + heads
    acc = tl.zeros([BLOCK_HEADS, BLOCK_D], dtype=tl.float32)
    top = tl.full([BLOCK_HEADS], float("-inf"), dtype=tl.float32)
    total = tl.zeros([BLOCK_HEADS], dtype=tl.float32)
    split_acc, split_top, split_total = acc, top, total
    for first in tl.range(first_part, end_part, UNROLL):
        for i in tl.static_range(UNROLL):
            part = first + i
            live = heads < tl.where(part < end_part, NUM_HEADS, 0)
            inside = live[:, None] & (dims < HEAD_DIM)[None, :]
            partial = rows * num_parts + part
            part_acc = tl.load(sums_ptr + partial[:, None] * HEAD_DIM + dims[None, :], mask=inside, other=0.0)
            part_top = tl.load(scalars_ptr + partial * 2, mask=live, other=float("-inf"))
            part_total = tl.load(scalars_ptr + partial * 2 + 1, mask=live, other=0.0)

            keep, take, new_top = merge_scales(top, split_top)
            begins_split = part % parts_per_split == 0
            acc = tl.where(begins_split, tl.fma(acc, keep[:, None], split_acc * take[:, None]), acc)
            total = tl.where(begins_split, tl.fma(total, keep, split_total * take), total)
            top = tl.where(begins_split, new_top, top)
            split_top = tl.where(begins_split, float("-inf"), split_top)

            keep, take, split_top = merge_scales(split_top, part_top)
            split_acc = tl.fma(split_acc, keep[:, None], part_acc * take[:, None])
            split_total = tl.fma(split_total, keep, part_total * take)
    keep, take, top = merge_scales(top, split_top)
    acc = tl.fma(acc, keep[:, None], split_acc * take[:, None])
    total = tl.fma(total, keep, split_total * take)

    is_head = heads < NUM_HEADS
    result = (acc / tl.where(is_head, total, 1.0)[:, None]).to(out_ptr.dtype.element_ty)
    inside = is_head[:, None] & (dims < HEAD_DIM)[None, :]
    tl.store(out_ptr + rows[:, None] * HEAD_DIM + dims[None, :], result, mask=inside)


@triton.jit
def merge_scales(top: tl.tensor, other: tl.tensor) -> tuple[tl.tensor, ...]:
    """Return (scale of the sums so far, scale of the others, new maximum); a side of maximum -inf is scaled by zero."""
    new_top = tl.maximum(top, other)
    shift = tl.where(new_top == float("-inf"), 0.0, new_top)
    return tl.exp2(top - shift), tl.exp2(other - shift), new_top


@triton.jit
def first_visible_key(seq_len: tl.tensor, WINDOW: tl.constexpr) -> tl.tensor:
    """Return the position of the first key that the last token sees; WINDOW 0 sees all."""
    if WINDOW > 0:
        return tl.maximum(seq_len - WINDOW, 0)
    else:
        return seq_len * 0
