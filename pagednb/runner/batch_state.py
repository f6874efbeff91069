"""The fixed rows of running requests on the device, changed by a plan's diff and by the tokens it samples.

The model runner owns it. Row ``num_rows`` - 1 is scratch for padding: its block table stays zero and it is never
admitted. The host keeps no copy of what changes every step, so the next step may be launched before this one is read.
"""

from __future__ import annotations

import torch

from pagednb.config import CacheGeometry
from pagednb.kernels.kernel_set import KernelSet
from pagednb.kernels.row_state import Chunks, RowState, StepInputs
from pagednb.runner.plan_diff import NUM_FLOATS, NUM_INTS, PlanDiff

# block tables handed to kernels are a multiple of this wide: a stride that keeps its divisibility compiles once
_TABLE_WIDTH_STEP = 16
_LAST_TOKEN_BYTES = 8


class BatchState:
    """What the device knows about each row. ``table_width``: columns of the block table."""

    def __init__(self, max_num_seqs: int, geometry: CacheGeometry, kernels: KernelSet, device: torch.device) -> None:
        num_rows = max_num_seqs + 1
        width = round_up(geometry.max_blocks_per_seq, _TABLE_WIDTH_STEP)
        self.device = device
        self._block_size = geometry.block_size
        self.table_width = width
        self._step_inputs = kernels.step_inputs
        self._advance_rows = kernels.advance_rows
        # what an admission sets lies together: two writes a plan, however many fields
        self._ints = torch.zeros((NUM_INTS, num_rows), dtype=torch.int64, device=device)
        self._floats = torch.zeros((NUM_FLOATS, num_rows), dtype=torch.float32, device=device)
        num_computed, max_total, seeds, top_k = self._ints.unbind(0)
        temperature, top_p, min_p = self._floats.unbind(0)
        self.rows = RowState(
            num_computed=num_computed,
            max_total=max_total,
            last_token=torch.zeros(num_rows, dtype=torch.int64, device=device),
            seeds=seeds,
            top_k=top_k,
            temperature=temperature,
            top_p=top_p,
            min_p=min_p,
            block_table=torch.zeros((num_rows, width), dtype=torch.int32, device=device),
        )
        self._table_cells = self.rows.block_table.view(-1)

    @staticmethod
    def num_bytes(max_num_seqs: int, max_blocks_per_seq: int) -> int:
        """Device memory that the rows take, for sizing."""
        width = round_up(max_blocks_per_seq, _TABLE_WIDTH_STEP)
        return (max_num_seqs + 1) * (4 * width + 8 * NUM_INTS + 4 * NUM_FLOATS + _LAST_TOKEN_BYTES)

    @property
    def scratch_row(self) -> int:
        """The row that pads a batch: position 0 of the scratch block."""
        scratch_row: int = self.rows.scratch_row
        return scratch_row

    def apply(self, diff: PlanDiff) -> None:
        """Apply a plan's admissions, then its growth."""
        if diff.admitted_rows is not None:
            assert diff.admitted_ints is not None and diff.admitted_floats is not None
            self._ints[:, diff.admitted_rows] = diff.admitted_ints
            self._floats[:, diff.admitted_rows] = diff.admitted_floats
        for entries in (diff.admitted_blocks, diff.grown_blocks):
            if entries is not None:
                cells, block_ids = entries.unbind(0)
                self._table_cells[cells] = block_ids

    def step_inputs(
        self, rows: torch.Tensor, *, max_seq_len: int, chunks: Chunks | None, sampled_seqs: torch.Tensor | None
    ) -> StepInputs:
        """Return what one pass over ``rows`` needs, none of which holds more than ``max_seq_len`` tokens."""
        return self._step_inputs(
            self.rows,
            rows,
            block_size=self._block_size,
            num_columns=self._table_width(max_seq_len),
            chunks=chunks,
            sampled_seqs=sampled_seqs,
        )

    def advance(self, inputs: StepInputs, token_ids: torch.Tensor, *, out: torch.Tensor) -> None:
        """Count a pass as computed and feed its sampled tokens back, without a look from the host; copy them to out."""
        self._advance_rows(self.rows, inputs, token_ids, out=out)

    def _table_width(self, max_seq_len: int) -> int:
        """Return how many columns of the block table cover ``max_seq_len`` tokens, rounded up."""
        num_columns = round_up(-(-max_seq_len // self._block_size), _TABLE_WIDTH_STEP)
        return min(num_columns, self.table_width)


def round_up(number: int, multiple: int) -> int:
    """Return the least multiple of ``multiple`` that is not below ``number``."""
    return -(-number // multiple) * multiple
