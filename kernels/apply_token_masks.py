"""Minus infinity on the tokens that a row's constraint forbids: bits are read, and only forbidden logits written."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from pagednb.kernels.launch import check_rows

_BLOCK = 4096


def apply_token_masks(logits: torch.Tensor, words: torch.Tensor, mask_rows: torch.Tensor) -> None:
    """Mask ``logits`` in place. See reference_sampling.apply_token_masks."""
    num_rows, vocab = logits.shape
    check_rows(logits, vocab, like=logits)
    assert words.dtype == mask_rows.dtype == torch.int32, f"dtypes are {words.dtype} and {mask_rows.dtype}"
    assert words.stride(1) == 1 and 32 * words.shape[1] >= vocab, f"{list(words.shape)} words for {vocab} tokens"
    assert mask_rows.shape == (num_rows,), f"{list(mask_rows.shape)} for {num_rows} rows"
    if num_rows == 0:
        return
    grid = (triton.cdiv(vocab, _BLOCK), num_rows)
    _apply_token_masks_kernel[grid](
        logits, logits.stride(0), vocab, words, words.stride(0), mask_rows, BLOCK=_BLOCK, num_warps=4
    )


@triton.jit
def _apply_token_masks_kernel(
    logits_ptr: tl.tensor,
    logits_stride: tl.tensor,
    vocab: tl.tensor,
    words_ptr: tl.tensor,
    words_stride: tl.tensor,
    mask_rows_ptr: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    row = tl.program_id(1).to(tl.int64)
    mask_row = tl.load(mask_rows_ptr + row).to(tl.int64)
    if mask_row < 0:
        return
    cols = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = cols < vocab

    words = tl.load(words_ptr + mask_row * words_stride + (cols >> 5), mask=inside, other=0)

    is_allowed = (words >> (cols & 31)) & 1

    minus_infinity = tl.full([BLOCK], float("-inf"), dtype=tl.float32).to(logits_ptr.dtype.element_ty)
    tl.store(logits_ptr + row * logits_stride + cols, minus_infinity, mask=inside & (is_allowed == 0))
