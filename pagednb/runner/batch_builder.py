"""From rows to a forward pass: input tokens, positions and slots, all computed on the device.

Functions of (rows on the device, numbers known to the host) with no look at device values, so that a decode batch of
fixed size can be captured once and replayed.
"""

from __future__ import annotations

import torch

from pagednb.forward_batch import ForwardBatch
from pagednb.runner.batch_state import BatchState
from pagednb.runner.plan_tensors import PlanTensors
from pagednb.scheduler.output import SchedulerOutput


def build_batch(state: BatchState, plan: SchedulerOutput, tensors: PlanTensors) -> ForwardBatch:
    """Return the forward pass of ``plan``; its diff must have been applied to ``state``."""
    if plan.prefills:
        return _build_mixed_batch(state, plan, tensors)
    return build_decode_batch(state, tensors.rows, max_seq_len=plan.max_seq_len)


def build_decode_batch(state: BatchState, rows: torch.Tensor, *, max_seq_len: int) -> ForwardBatch:
    """Return the pass in which each of ``rows`` int64 ``[num_seqs]`` computes its last token."""
    num_seqs = rows.shape[0]
    positions = state.num_computed[rows]
    index = torch.arange(num_seqs + 1, device=rows.device)
    return ForwardBatch(
        input_ids=state.last_token[rows],
        positions=positions,
        slot_mapping=state.slots(rows, positions),
        query_start_loc=index.to(torch.int32),
        seq_lens=(positions + 1).to(torch.int32),
        block_tables=state.block_table[:, : state.table_width(max_seq_len)][rows],
        sample_indices=index[:num_seqs],
        num_decodes=num_seqs,
        max_query_len=0,
        max_seq_len=max_seq_len,
    )


def _build_mixed_batch(state: BatchState, plan: SchedulerOutput, tensors: PlanTensors) -> ForwardBatch:
    rows, starts = tensors.rows, tensors.query_start_loc
    assert starts is not None and tensors.prefill_token_ids is not None and tensors.sampled_seqs is not None
    num_decodes = len(plan.decode_rows)
    query_lens = starts.diff()  # [num_seqs]
    num_computed = state.num_computed[rows]  # [num_seqs]
    token_seqs = torch.repeat_interleave(query_lens, output_size=plan.num_tokens)  # [num_tokens]
    offsets = torch.arange(plan.num_tokens, device=rows.device) - starts[token_seqs]
    positions = num_computed[token_seqs] + offsets
    return ForwardBatch(
        input_ids=torch.cat([state.last_token[rows[:num_decodes]], tensors.prefill_token_ids.long()]),
        positions=positions,
        slot_mapping=state.slots(rows[token_seqs], positions),
        query_start_loc=starts,
        seq_lens=(num_computed + query_lens).to(torch.int32),
        block_tables=state.block_table[:, : state.table_width(plan.max_seq_len)][rows],
        sample_indices=starts[1:][tensors.sampled_seqs].long() - 1,
        num_decodes=num_decodes,
        max_query_len=max(len(chunk.token_ids) for chunk in plan.prefills),
        max_seq_len=plan.max_seq_len,
    )
