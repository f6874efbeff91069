"""The first kernel of a step: from row numbers to all that the model and the sampler read.

One program takes a sequence: it looks its row up, writes token, position and slot of each of its tokens, its length,
its block table, and how it samples. One more program clears the tokens that follow the last sequence.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from pagednb.kernels.row_state import Chunks, RowState, StepInputs, empty_step_inputs

_BLOCK = 256


def step_inputs(
    state: RowState,
    rows: torch.Tensor,
    *,
    block_size: int,
    num_columns: int,
    chunks: Chunks | None = None,
    sampled_seqs: torch.Tensor | None = None,
) -> StepInputs:
    """Gather what one pass over ``rows`` needs: decodes first, then prefill chunks. See reference_step.step_inputs."""
    num_seqs = rows.shape[0]
    num_sampled = num_seqs if sampled_seqs is None else sampled_seqs.shape[0]
    num_decodes = num_seqs if chunks is None else chunks.num_decodes
    num_tokens = num_decodes + (0 if chunks is None else chunks.token_ids.shape[0])
    starts = None if chunks is None else chunks.query_start_loc
    assert starts is None or starts.shape == (num_seqs + 1,), f"{num_seqs} rows, bounds {list(starts.shape)}"
    assert num_columns <= state.block_table.shape[1], f"{num_columns} columns of {state.block_table.shape[1]}"
    out = empty_step_inputs(
        state,
        num_tokens=num_tokens,
        num_seqs=num_seqs,
        num_sampled=num_sampled,
        num_columns=num_columns,
        starts=starts,
    )
    _step_inputs_kernel[(num_seqs + 1,)](
        state,
        out,
        rows,
        None if chunks is None else chunks.token_ids,
        sampled_seqs,
        state.block_table.stride(0),
        num_columns,
        num_seqs,
        num_decodes,
        num_tokens,
        num_sampled,
        state.scratch_row,
        BLOCK_SIZE=block_size,
        BLOCK=_BLOCK,
    )
    return out


# sizes differ from step to step, and buffers lie at any alignment: a compiled variant for each would only cost time
@triton.jit(
    do_not_specialize=["num_columns", "num_seqs", "num_decodes", "num_tokens", "num_sampled", "scratch_row"],
    do_not_specialize_on_alignment=["rows_ptr", "token_ids_ptr", "sampled_seqs_ptr"],
)
def _step_inputs_kernel(
    state: RowState,
    out: StepInputs,
    rows_ptr: tl.tensor,
    token_ids_ptr: tl.tensor,
    sampled_seqs_ptr: tl.tensor,
    table_stride: tl.tensor,
    num_columns: tl.tensor,
    num_seqs: tl.tensor,
    num_decodes: tl.tensor,
    num_tokens: tl.tensor,
    num_sampled: tl.tensor,
    scratch_row: tl.tensor,
    BLOCK_SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    seq = tl.program_id(0)
    lanes = tl.arange(0, BLOCK)
    if seq == num_seqs:
        if token_ids_ptr is None:
            tl.store(out.query_start_loc + seq, seq)
        else:
            for first in tl.range(tl.load(out.query_start_loc + seq), num_tokens, BLOCK):
                _store_tokens(out, first + lanes, 0, 0, 0, first + lanes < num_tokens)
        return

    row = _live_row(state, rows_ptr, seq, num_decodes, scratch_row)
    num_computed = tl.load(state.num_computed + row)
    table_ptr = state.block_table + row * table_stride
    query_len = 1
    if seq < num_decodes:
        if token_ids_ptr is None:
            tl.store(out.query_start_loc + seq, seq)
        slot = _slots(table_ptr, num_computed, True, BLOCK_SIZE)
        _store_tokens(out, seq, tl.load(state.last_token + row), num_computed, slot, True)
    elif token_ids_ptr is not None:
        start = tl.load(out.query_start_loc + seq)
        query_len = tl.load(out.query_start_loc + seq + 1) - start
        for first in tl.range(0, query_len, BLOCK):
            inside = first + lanes < query_len
            positions = num_computed + first + lanes
            token_ids = tl.load(token_ids_ptr + start - num_decodes + first + lanes, mask=inside, other=0)
            slots = _slots(table_ptr, positions, inside, BLOCK_SIZE)
            _store_tokens(out, start + first + lanes, token_ids, positions, slots, inside)
    tl.store(out.rows + seq, row)
    tl.store(out.seq_lens + seq, (num_computed + query_len).to(tl.int32))
    for first in tl.range(0, num_columns, BLOCK):
        inside = first + lanes < num_columns
        blocks = tl.load(table_ptr + first + lanes, mask=inside, other=0)
        tl.store(out.block_tables + seq.to(tl.int64) * num_columns + first + lanes, blocks, mask=inside)

    if seq < num_sampled:
        sampled_seq = seq
        if sampled_seqs_ptr is not None:
            sampled_seq = tl.load(sampled_seqs_ptr + seq).to(tl.int32)
        row = _live_row(state, rows_ptr, sampled_seq, num_decodes, scratch_row)
        _store_sampling(state, out, seq, sampled_seq, row, num_decodes)


@triton.jit
def _live_row(
    state: RowState, rows_ptr: tl.tensor, seq: tl.tensor, num_decodes: tl.tensor, scratch_row: tl.tensor
) -> tl.tensor:
    """Return a sequence's row: scratch when it decodes and has its last token."""
    row = tl.load(rows_ptr + seq)
    if seq < num_decodes:
        has_ended = tl.load(state.num_computed + row) + 1 >= tl.load(state.max_total + row)
        row = tl.where(has_ended, scratch_row.to(tl.int64), row)
    return row


@triton.jit
def _slots(table_ptr: tl.tensor, positions: tl.tensor, inside: tl.tensor, BLOCK_SIZE: tl.constexpr) -> tl.tensor:
    """Return where K and V of ``positions`` lie."""
    blocks = tl.load(table_ptr + positions // BLOCK_SIZE, mask=inside, other=0).to(tl.int64)
    return blocks * BLOCK_SIZE + positions % BLOCK_SIZE


@triton.jit
def _store_tokens(
    out: StepInputs,
    tokens: tl.tensor,
    token_ids: tl.tensor,
    positions: tl.tensor,
    slots: tl.tensor,
    inside: tl.tensor,
) -> None:
    tl.store(out.input_ids + tokens, token_ids, mask=inside)
    tl.store(out.positions + tokens, positions, mask=inside)
    tl.store(out.slot_mapping + tokens, slots, mask=inside)


@triton.jit
def _store_sampling(
    state: RowState, out: StepInputs, index: tl.tensor, seq: tl.tensor, row: tl.tensor, num_decodes: tl.tensor
) -> None:
    """Write how sequence ``seq``, in ``row``, samples its next token."""
    start = seq
    end = seq + 1
    if seq >= num_decodes:
        start = tl.load(out.query_start_loc + seq)
        end = tl.load(out.query_start_loc + seq + 1)
    tl.store(out.sample_indices + index, tl.maximum(end - 1, 0))
    tl.store(out.sampled_rows + index, row)
    tl.store(out.sampled_positions + index, tl.load(state.num_computed + row) + end - start)
    tl.store(out.seeds + index, tl.load(state.seeds + row))
    tl.store(out.top_k + index, tl.load(state.top_k + row).to(tl.int32))
    tl.store(out.temperature + index, tl.load(state.temperature + row))
    tl.store(out.top_p + index, tl.load(state.top_p + row))
    tl.store(out.min_p + index, tl.load(state.min_p + row))
