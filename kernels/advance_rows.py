"""The last kernel of a step: sampled tokens become the rows' next inputs, and the pass counts as computed."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from pagednb.kernels.row_state import RowState, StepInputs

_BLOCK = 128


def advance_rows(
    state: RowState, inputs: StepInputs, token_ids: torch.Tensor, *, out: torch.Tensor | None = None
) -> None:
    """Note the tokens and lengths of one pass; scratch stays as it is. See reference_step.advance_rows."""
    num_seqs, num_sampled = inputs.rows.shape[0], inputs.sampled_rows.shape[0]
    assert token_ids.shape == (num_sampled,), f"{num_sampled} sampled rows, tokens {list(token_ids.shape)}"
    assert out is None or out.shape == token_ids.shape, f"{num_sampled} tokens do not fit {list(out.shape)}"
    _advance_rows_kernel[(triton.cdiv(num_seqs, _BLOCK),)](
        state.num_computed,
        state.last_token,
        inputs.rows,
        inputs.seq_lens,
        inputs.sampled_rows,
        token_ids,
        out,
        0 if out is None else out.stride(0),
        num_seqs,
        num_sampled,
        state.scratch_row,
        BLOCK=_BLOCK,
    )


@triton.jit(
    do_not_specialize=["out_stride", "num_seqs", "num_sampled", "scratch_row"],
    do_not_specialize_on_alignment=["out_ptr"],
)
def _advance_rows_kernel(
    num_computed_ptr: tl.tensor,
    last_token_ptr: tl.tensor,
    rows_ptr: tl.tensor,
    seq_lens_ptr: tl.tensor,
    sampled_rows_ptr: tl.tensor,
    token_ids_ptr: tl.tensor,
    out_ptr: tl.tensor,
    out_stride: tl.tensor,
    num_seqs: tl.tensor,
    num_sampled: tl.tensor,
    scratch_row: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    rows = tl.load(rows_ptr + index, mask=index < num_seqs, other=scratch_row)
    seq_lens = tl.load(seq_lens_ptr + index, mask=index < num_seqs, other=0)
    tl.store(num_computed_ptr + rows, seq_lens.to(tl.int64), mask=rows != scratch_row)

    is_sampled = index < num_sampled
    rows = tl.load(sampled_rows_ptr + index, mask=is_sampled, other=scratch_row)
    token_ids = tl.load(token_ids_ptr + index, mask=is_sampled, other=0)
    tl.store(last_token_ptr + rows, tl.maximum(token_ids, 0), mask=rows != scratch_row)
    if out_ptr is not None:
        tl.store(out_ptr + index * out_stride, token_ids, mask=is_sampled)
