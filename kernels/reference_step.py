"""A step's first and last operation in plain torch: the contracts of the Triton kernels of the same names."""

from __future__ import annotations

import torch

from pagednb.kernels.row_state import Chunks, RowState, StepInputs


def step_inputs(
    state: RowState,
    rows: torch.Tensor,
    *,
    block_size: int,
    num_columns: int,
    chunks: Chunks | None = None,
    sampled_seqs: torch.Tensor | None = None,
) -> StepInputs:
    """Gather what one pass over ``rows`` needs: decodes first, then prefill chunks.

    Args:
        state: the rows.
        rows: int64 ``[num_seqs]``; scratch rows are padding.
        block_size: slots of a block.
        num_columns: columns of the block tables handed on; they cover every live row.
        chunks: the prefill chunks, which belong to the last rows; None when all rows decode.
        sampled_seqs: int64 ``[num_sampled]``, indices into ``rows``; None samples every row.

    Returns:
        New tensors. A decode whose row holds ``max_total`` tokens has become scratch: it writes K and V to slot 0.
    """
    num_seqs = rows.shape[0]
    if chunks is None:
        no_tokens = torch.empty(0, dtype=torch.int32, device=rows.device)
        starts = torch.arange(num_seqs + 1, dtype=torch.int32, device=rows.device)
        chunks = Chunks(num_decodes=num_seqs, query_start_loc=starts, token_ids=no_tokens)
    has_ended = state.num_computed[rows] + 1 >= state.max_total[rows]
    has_ended[chunks.num_decodes :] = False
    rows = rows.where(~has_ended, state.scratch_row)
    starts, ends = chunks.query_start_loc[:-1].long(), chunks.query_start_loc[1:].long()
    num_computed = state.num_computed[rows]
    seq_lens = num_computed + ends - starts

    input_ids = torch.cat([state.last_token[rows[: chunks.num_decodes]], chunks.token_ids.long()])
    tokens = torch.arange(input_ids.shape[0], device=rows.device)
    seqs = torch.searchsorted(ends, tokens, right=True)
    is_padding = seqs == num_seqs
    seqs = seqs.clamp(max=num_seqs - 1)
    positions = (num_computed[seqs] + tokens - starts[seqs]).masked_fill(is_padding, 0)
    slots = state.block_table[rows[seqs], positions // block_size].long() * block_size + positions % block_size

    if sampled_seqs is None:
        sampled_seqs = torch.arange(num_seqs, device=rows.device)
    sampled_rows = rows[sampled_seqs]
    return StepInputs(
        input_ids=input_ids.masked_fill(is_padding, 0),
        positions=positions,
        slot_mapping=slots.masked_fill(is_padding, 0),
        query_start_loc=chunks.query_start_loc,
        seq_lens=seq_lens.to(torch.int32),
        block_tables=state.block_table[rows, :num_columns],
        rows=rows,
        sample_indices=(ends[sampled_seqs] - 1).clamp(min=0),
        sampled_rows=sampled_rows,
        sampled_positions=seq_lens[sampled_seqs],
        seeds=state.seeds[sampled_rows],
        top_k=state.top_k[sampled_rows].to(torch.int32),
        temperature=state.temperature[sampled_rows],
        top_p=state.top_p[sampled_rows],
        min_p=state.min_p[sampled_rows],
    )


def advance_rows(
    state: RowState, inputs: StepInputs, token_ids: torch.Tensor, *, out: torch.Tensor | None = None
) -> None:
    """Make sampled tokens the rows' next inputs and count the pass as computed; scratch stays as it is.

    Args:
        state: the rows, updated in place.
        inputs: the pass.
        token_ids: int64 ``[num_sampled]``; a negative one, of a row that could not be sampled, goes on as token 0.
        out: int64 ``[num_sampled]``, a copy of ``token_ids`` goes there; of any stride. None makes none.
    """
    is_live = inputs.rows != state.scratch_row
    state.num_computed[inputs.rows[is_live]] = inputs.seq_lens[is_live].long()
    is_live = inputs.sampled_rows != state.scratch_row
    state.last_token[inputs.sampled_rows[is_live]] = token_ids[is_live].clamp(min=0)
    if out is not None:
        out.copy_(token_ids)
