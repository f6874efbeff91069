"""Which rows a step runs, and the tokens of its prompts, at a fixed place on the device.

A graph keeps the buffer it was captured with; an eager step makes one for itself. One transfer fills it.
"""

from __future__ import annotations

import operator

import numpy as np
import torch

from pagednb.kernels.row_state import Chunks
from pagednb.runner.step_shape import StepShape
from pagednb.scheduler.output import SchedulerOutput

_SteadyArrays = tuple[np.ndarray, np.ndarray | None]


class StepBuffer:
    """Inputs of a step of one shape; plans that are smaller are padded.

    Attributes:
        rows: int64 ``[num_seqs]``, decodes, then prefill chunks; each padded with the scratch row.
        chunks: the prefill chunks; None without any. Padding chunks are empty, padding tokens belong to no chunk.
        sampled_seqs: int64 ``[num_sampled]``, indices into ``rows``; None when every sequence is sampled.
        shared_prefix_lens: int32 ``[num_seqs]``, 0 for chunks and padding; None when no group is looked for.
        mask_rows: int32 ``[num_sampled]``, which of the plan's token masks a sampled sequence has, -1 for none; None
            when there are no masks.
    """

    def __init__(
        self, shape: StepShape, *, scratch_row: int, device: torch.device, num_sampled: int | None = None
    ) -> None:
        self._shape = shape
        self._scratch_row = scratch_row
        self._steady: _SteadyArrays | None = None
        num_masked = (num_sampled or shape.num_seqs) if shape.has_token_masks else 0
        sections = [
            _words(2 * shape.num_seqs),
            _words(shape.num_seqs + 1) if shape.num_prefills else 0,
            _words(shape.num_prefill_tokens),
            _words(2 * (num_sampled or 0)),
            _words(shape.num_seqs) if shape.has_shared_prefix else 0,
            _words(num_masked),
        ]
        self._bounds = np.cumsum(sections)[:-1].tolist()
        self._packed = torch.empty(sum(sections), dtype=torch.int64, device=device)
        rows, starts, token_ids, sampled_seqs, prefix_lens, mask_rows = self._packed.tensor_split(self._bounds)
        self.rows = rows[: shape.num_seqs]
        self.sampled_seqs = None if num_sampled is None else sampled_seqs[:num_sampled]
        self.shared_prefix_lens = prefix_lens.view(torch.int32)[: shape.num_seqs] if shape.has_shared_prefix else None
        self.mask_rows = mask_rows.view(torch.int32)[:num_masked] if shape.has_token_masks else None
        self.chunks: Chunks | None = None
        if shape.num_prefills:
            self.chunks = Chunks(
                num_decodes=shape.num_decodes,
                query_start_loc=starts.view(torch.int32)[: shape.num_seqs + 1],
                token_ids=token_ids.view(torch.int32)[: shape.num_prefill_tokens],
            )

    def fill(self, plan: SchedulerOutput) -> None:
        """Send what ``plan`` runs; a step launched before still reads what it was given."""
        steady = _steady_arrays(plan)
        if steady is not None and self._steady is not None and all(map(operator.is_, steady, self._steady)):
            return
        self._steady = steady
        staging = torch.empty(self._packed.shape, dtype=torch.int64, pin_memory=self._packed.is_cuda)
        rows, starts, token_ids, sampled_seqs, prefix_lens, mask_rows = np.split(staging.numpy(), self._bounds)
        first_chunk = self._shape.num_decodes
        rows[:] = self._scratch_row
        rows[: len(plan.decode_rows)] = plan.decode_rows
        if self._shape.num_prefills:
            rows[first_chunk : first_chunk + len(plan.prefills)] = [chunk.row for chunk in plan.prefills]
            self._fill_chunks(plan, starts.view(np.int32), token_ids.view(np.int32))
        if self.sampled_seqs is not None:
            sampled_seqs[: len(self.sampled_seqs)] = sampled_positions(plan, first_chunk=first_chunk)
        prefix_lens[:] = 0
        if self.shared_prefix_lens is not None and plan.shared_prefix_lens is not None:
            prefix_lens.view(np.int32)[: len(plan.shared_prefix_lens)] = plan.shared_prefix_lens
        if self.mask_rows is not None:
            self._fill_mask_rows(plan, mask_rows.view(np.int32))
        self._packed.copy_(staging, non_blocking=True)

    def _fill_mask_rows(self, plan: SchedulerOutput, mask_rows: np.ndarray) -> None:
        mask_rows[:] = -1
        if plan.token_masks is not None:
            where = plan.token_masks.sample_positions
            if self.sampled_seqs is None:
                where = sampled_positions(plan, first_chunk=self._shape.num_decodes)[where]
            mask_rows[where] = np.arange(len(where))

    def _fill_chunks(self, plan: SchedulerOutput, starts: np.ndarray, token_ids: np.ndarray) -> None:
        first_chunk = self._shape.num_decodes
        starts[: first_chunk + 1] = np.arange(first_chunk + 1)
        start = 0
        for index, chunk in enumerate(plan.prefills, start=first_chunk + 1):
            end = start + len(chunk.token_ids)
            token_ids[start:end] = chunk.token_ids
            starts[index] = first_chunk + end
            start = end
        starts[first_chunk + 1 + len(plan.prefills) :] = first_chunk + start
        token_ids[start:] = 0


def sampled_positions(plan: SchedulerOutput, *, first_chunk: int) -> np.ndarray:
    """Return int64 ``[num_sampled]``: where the sampled sequences stand when chunks begin at ``first_chunk``."""
    chunks = [first_chunk + index for index, chunk in enumerate(plan.prefills) if chunk.samples]
    return np.concatenate([np.arange(len(plan.decode_rows)), np.array(chunks, dtype=np.int64)])


def _steady_arrays(plan: SchedulerOutput) -> _SteadyArrays | None:
    """Return all that a plan without prefills would send: the same objects again while its rows stay the same.

    None where someone could have written to them meanwhile.
    """
    arrays = (plan.decode_rows, plan.shared_prefix_lens)
    is_fixed = not any(array is not None and array.flags.writeable for array in arrays)
    return arrays if is_fixed and not plan.prefills and plan.token_masks is None else None


def _words(num_int32: int) -> int:
    """Return how many int64 hold ``num_int32`` int32, an even number: kernels are compiled for aligned pointers."""
    return 2 * -(-num_int32 // 4)
