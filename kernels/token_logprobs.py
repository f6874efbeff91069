"""The log-softmax of a few rows at a few tokens each, without a sort and without a copy of the logits.

One program a row: it looks for the largest logit, then sums exponentials and counts likelier tokens. The second pass
finds the row in L2. Sums run lane by lane and meet once at the end.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from pagednb.kernels.launch import check_rows

_BLOCK = 8192
_NUM_WARPS = 16
_LEAST_WIDTH_BLOCK = 128  # one compilation serves nearly all widths


def token_logprobs(
    logits: torch.Tensor, token_ids: torch.Tensor, rows: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logprobs ``[m, width]`` and ranks ``[m]``. See reference_logprobs.token_logprobs."""
    num_asked, width = token_ids.shape
    vocab = logits.shape[1]
    check_rows(logits, vocab, like=logits)
    assert width >= 1 and token_ids.dtype == torch.int64, f"{list(token_ids.shape)} token ids of {token_ids.dtype}"
    assert token_ids.is_contiguous(), f"token ids must be contiguous, strides are {token_ids.stride()}"
    assert num_asked == (len(logits) if rows is None else len(rows)), f"{num_asked} rows of token ids"
    logprobs = torch.empty((num_asked, width), dtype=torch.float32, device=logits.device)
    ranks = torch.empty(num_asked, dtype=torch.int32, device=logits.device)
    if num_asked == 0:
        return logprobs, ranks
    _token_logprobs_kernel[(num_asked,)](
        logits,
        logits.stride(0),
        vocab,
        rows,
        token_ids,
        width,
        logprobs,
        ranks,
        WIDTH_BLOCK=max(_LEAST_WIDTH_BLOCK, triton.next_power_of_2(width)),
        BLOCK=min(_BLOCK, triton.next_power_of_2(vocab)),
        num_warps=_NUM_WARPS,
    )
    return logprobs, ranks


@triton.jit(do_not_specialize=["width"])
def _token_logprobs_kernel(
    logits_ptr: tl.tensor,
    logits_stride: tl.tensor,
    vocab: tl.tensor,
    rows_ptr: tl.tensor,
    token_ids_ptr: tl.tensor,
    width: tl.tensor,
    logprobs_ptr: tl.tensor,
    ranks_ptr: tl.tensor,
    WIDTH_BLOCK: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    index = tl.program_id(0).to(tl.int64)
    row = index
    if rows_ptr is not None:
        row = tl.load(rows_ptr + index)
    logits_row = logits_ptr + row * logits_stride
    first = tl.load(logits_row + tl.load(token_ids_ptr + index * width)).to(tl.float32)

    lanes = tl.arange(0, BLOCK)
    maxima = tl.full([BLOCK], float("-inf"), dtype=tl.float32)
    for start in range(0, vocab, BLOCK):
        cols = start + lanes
        maxima = tl.maximum(maxima, tl.load(logits_row + cols, mask=cols < vocab, other=float("-inf")).to(tl.float32))
    largest = tl.max(maxima, axis=0)

    sums = tl.zeros([BLOCK], dtype=tl.float32)
    likelier = tl.zeros([BLOCK], dtype=tl.int32)
    for start in range(0, vocab, BLOCK):
        cols = start + lanes
        values = tl.load(logits_row + cols, mask=cols < vocab, other=float("-inf")).to(tl.float32)
        sums += tl.exp(values - largest)
        likelier += (values > first).to(tl.int32)
    normalizer = largest + tl.log(tl.sum(sums, axis=0))

    columns = tl.arange(0, WIDTH_BLOCK)
    is_asked = columns < width
    token_ids = tl.load(token_ids_ptr + index * width + columns, mask=is_asked, other=0)
    values = tl.load(logits_row + token_ids, mask=is_asked, other=0.0).to(tl.float32)
    tl.store(logprobs_ptr + index * width + columns, values - normalizer, mask=is_asked)
    tl.store(ranks_ptr + index, tl.sum(likelier, axis=0) + 1)
