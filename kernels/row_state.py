"""What a step's first and last kernel share: the rows of running requests, and the inputs of one pass over them.

The runner owns the rows; both types are bundles of tensors and nothing else.
"""

from __future__ import annotations

from typing import NamedTuple

import torch


class RowState(NamedTuple):
    """Everything that a device knows about each row, ``[num_rows]`` each.

    The last row is scratch: never admitted, all zero, its block table points at block 0. It pads batches of fixed
    size, and a row that has reached ``max_total`` tokens decodes as if it were scratch.

    Attributes:
        num_computed: int64, tokens whose K and V are in the cache; the position of the next one.
        max_total: int64, tokens at which the row's request ends.
        last_token: int64, the token to decode next.
        seeds, top_k: int64; temperature, top_p, min_p: float32. How the row samples.
        block_table: int32 ``[num_rows, max_blocks]``.
    """

    num_computed: torch.Tensor
    max_total: torch.Tensor
    last_token: torch.Tensor
    seeds: torch.Tensor
    top_k: torch.Tensor
    temperature: torch.Tensor
    top_p: torch.Tensor
    min_p: torch.Tensor
    block_table: torch.Tensor

    @property
    def scratch_row(self) -> int:
        """The row that stands for nothing."""
        return self.num_computed.shape[0] - 1


class StepInputs(NamedTuple):
    """Inputs of one pass: per token, per sequence, per sampled position.

    Attributes:
        input_ids, positions, slot_mapping: int64 ``[num_tokens]``; padding is token 0 at position 0 in slot 0.
        query_start_loc: int32 ``[num_seqs + 1]``.
        seq_lens: int32 ``[num_seqs]``, with this pass's tokens.
        block_tables: int32 ``[num_seqs, num_columns]``.
        rows: int64 ``[num_seqs]``, the rows that take part; scratch where a decode has frozen.
        sample_indices: int64 ``[num_sampled]``, the last token of each sampled sequence.
        sampled_rows: int64 ``[num_sampled]``, of ``rows``.
        sampled_positions: int64 ``[num_sampled]``, where the new token will stand.
        seeds: int64; top_k: int32; temperature, top_p, min_p: float32. All ``[num_sampled]``.
    """

    input_ids: torch.Tensor
    positions: torch.Tensor
    slot_mapping: torch.Tensor
    query_start_loc: torch.Tensor
    seq_lens: torch.Tensor
    block_tables: torch.Tensor
    rows: torch.Tensor
    sample_indices: torch.Tensor
    sampled_rows: torch.Tensor
    sampled_positions: torch.Tensor
    seeds: torch.Tensor
    top_k: torch.Tensor
    temperature: torch.Tensor
    top_p: torch.Tensor
    min_p: torch.Tensor


class Chunks(NamedTuple):
    """The prefill chunks of a pass, after its decodes.

    Attributes:
        num_decodes: rows before the chunks' rows; one token each.
        query_start_loc: int32 ``[num_seqs + 1]``, bounds of all queries, decodes included. Chunks may be empty, and
            tokens may follow the last one: padding of fixed shapes.
        token_ids: int32 ``[num_prefill_tokens]``.
    """

    num_decodes: int
    query_start_loc: torch.Tensor
    token_ids: torch.Tensor


def empty_step_inputs(
    state: RowState, *, num_tokens: int, num_seqs: int, num_sampled: int, num_columns: int, starts: torch.Tensor | None
) -> StepInputs:
    """Allocate inputs of the given sizes; ``starts`` becomes ``query_start_loc`` where the caller has one."""
    device = state.num_computed.device

    def empty(*shape: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, device=device)

    return StepInputs(
        input_ids=empty(num_tokens),
        positions=empty(num_tokens),
        slot_mapping=empty(num_tokens),
        query_start_loc=empty(num_seqs + 1, dtype=torch.int32) if starts is None else starts,
        seq_lens=empty(num_seqs, dtype=torch.int32),
        block_tables=empty(num_seqs, num_columns, dtype=torch.int32),
        rows=empty(num_seqs),
        sample_indices=empty(num_sampled),
        sampled_rows=empty(num_sampled),
        sampled_positions=empty(num_sampled),
        seeds=empty(num_sampled),
        top_k=empty(num_sampled, dtype=torch.int32),
        temperature=empty(num_sampled, dtype=torch.float32),
        top_p=empty(num_sampled, dtype=torch.float32),
        min_p=empty(num_sampled, dtype=torch.float32),
    )
