"""The fixed rows of running requests on the device, changed by a plan's diff and by the tokens it samples.

The model runner owns it. Row ``num_rows`` - 1 is scratch for padding: its block table stays zero and it is never
admitted. The host keeps no copy of what changes every step, so the next step may be launched before this one is read.
"""

from __future__ import annotations

import numpy as np
import torch

from pagednb.config import CacheGeometry
from pagednb.runner.plan_tensors import PlanTensors
from pagednb.sampling.sampler import SamplingInputs

# block tables handed to kernels are a multiple of this wide: a stride that keeps its divisibility compiles once
_TABLE_WIDTH_STEP = 16


class BatchState:
    """What the device knows about each row."""

    def __init__(self, max_num_seqs: int, geometry: CacheGeometry, device: torch.device) -> None:
        num_rows = max_num_seqs + 1
        self.device = device
        self.block_size = geometry.block_size
        self.last_token = torch.zeros(num_rows, dtype=torch.int64, device=device)
        self.num_computed = torch.zeros(num_rows, dtype=torch.int64, device=device)  # position of the next token
        width = round_up(geometry.max_blocks_per_seq, _TABLE_WIDTH_STEP)
        self.block_table = torch.zeros((num_rows, width), dtype=torch.int32, device=device)
        self._temperature = torch.zeros(num_rows, dtype=torch.float32, device=device)
        self._top_p = torch.zeros(num_rows, dtype=torch.float32, device=device)
        self._min_p = torch.zeros(num_rows, dtype=torch.float32, device=device)
        self._top_k = torch.zeros(num_rows, dtype=torch.int32, device=device)
        self._seeds = torch.zeros(num_rows, dtype=torch.int64, device=device)

    @staticmethod
    def num_bytes(max_num_seqs: int, max_blocks_per_seq: int) -> int:
        """Device memory that the rows take, for sizing."""
        width = round_up(max_blocks_per_seq, _TABLE_WIDTH_STEP)
        return (max_num_seqs + 1) * (4 * width + 8 + 8 + 3 * 4 + 4 + 8)

    @property
    def scratch_row(self) -> int:
        """The row that pads a batch: position 0 of the scratch block."""
        return self.num_computed.shape[0] - 1

    def apply(self, plan: PlanTensors) -> None:
        """Apply a plan's admissions, then its growth."""
        if plan.admitted_rows is not None:
            assert plan.admitted_computed is not None and plan.admitted_seeds is not None
            assert plan.admitted_top_k is not None and plan.admitted_floats is not None
            rows = plan.admitted_rows
            self.num_computed[rows] = plan.admitted_computed
            self._temperature[rows], self._top_p[rows], self._min_p[rows] = plan.admitted_floats.unbind(0)
            self._top_k[rows] = plan.admitted_top_k
            self._seeds[rows] = plan.admitted_seeds
        for blocks in (plan.admitted_blocks, plan.grown_blocks):
            if blocks is not None:
                rows, columns, block_ids = blocks.unbind(0)
                self.block_table[rows, columns] = block_ids.to(torch.int32)

    def table_width(self, max_seq_len: int) -> int:
        """Return how many columns of the block table cover ``max_seq_len`` tokens, rounded up."""
        num_blocks = -(-max_seq_len // self.block_size)
        return min(round_up(num_blocks, _TABLE_WIDTH_STEP), self.block_table.shape[1])

    def slots(self, rows: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Return int64 ``[num_tokens]``: where the K and V of the rows' ``positions`` are written."""
        blocks = self.block_table[rows, positions // self.block_size].long()
        return blocks * self.block_size + positions % self.block_size

    def sampling_inputs(self, host_rows: np.ndarray, rows: torch.Tensor, positions: torch.Tensor) -> SamplingInputs:
        """Gather how ``rows`` sample the tokens at ``positions``; both int64 ``[num_sampled]``."""
        return SamplingInputs(
            rows=host_rows,
            temperature=self._temperature[rows],
            top_k=self._top_k[rows],
            top_p=self._top_p[rows],
            min_p=self._min_p[rows],
            seeds=self._seeds[rows],
            positions=positions,
        )

    def advance(self, rows: torch.Tensor, seq_lens: torch.Tensor) -> None:
        """Note that the rows' KV is computed up to ``seq_lens`` (both ``[num_seqs]``)."""
        self.num_computed[rows] = seq_lens.long()

    def reset_scratch(self) -> None:
        """Put the scratch row back to position 0 after a padded batch has advanced it."""
        self.num_computed[-1:].zero_()

    def feed_back(self, rows: torch.Tensor, token_ids: torch.Tensor) -> None:
        """Make the sampled ``token_ids`` the rows' next inputs, without a look from the host."""
        self.last_token[rows] = token_ids


def round_up(number: int, multiple: int) -> int:
    """Return the least multiple of ``multiple`` that is not below ``number``."""
    return -(-number // multiple) * multiple
