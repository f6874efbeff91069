"""A plan's arrays, packed and sent to the device in one transfer.

The only place that walks a plan's admissions and chunks in Python; a steady decode step sends one array of rows.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from pagednb.sampling.transfer import to_device
from pagednb.scheduler.output import Admission, SchedulerOutput


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PlanTensors:
    """One plan on the device; a part that the plan lacks is None. Rows, columns and indices are int64.

    Attributes:
        rows: ``[num_seqs]``, decode rows, then the rows of prefill chunks.
        query_start_loc: int32 ``[num_seqs + 1]``; only with prefills, like the next two.
        prefill_token_ids: int32 ``[num_prefill_tokens]``.
        sampled_seqs: ``[num_sampled]``, indices into ``rows``.
        admitted_rows, admitted_computed, admitted_seeds: int64 ``[num_admitted]``.
        admitted_top_k: int32 ``[num_admitted]``.
        admitted_floats: float32 ``[3, num_admitted]``: temperature, top_p, min_p.
        admitted_blocks, grown_blocks: ``[3, n]``: row, column, block id.
        block_copies: ``[num_copies, 2]``: source, destination.
    """

    rows: torch.Tensor
    query_start_loc: torch.Tensor | None = None
    prefill_token_ids: torch.Tensor | None = None
    sampled_seqs: torch.Tensor | None = None
    admitted_rows: torch.Tensor | None = None
    admitted_computed: torch.Tensor | None = None
    admitted_seeds: torch.Tensor | None = None
    admitted_top_k: torch.Tensor | None = None
    admitted_floats: torch.Tensor | None = None
    admitted_blocks: torch.Tensor | None = None
    grown_blocks: torch.Tensor | None = None
    block_copies: torch.Tensor | None = None


def send_plan(plan: SchedulerOutput, device: torch.device) -> PlanTensors:
    """Send what ``plan`` carries to the device in one copy."""
    arrays = _batch_arrays(plan)
    if plan.admissions:
        arrays |= _admission_arrays(plan.admissions)
    growth = plan.growth
    if len(growth.rows):
        arrays["grown_blocks"] = np.stack([growth.rows, growth.columns, growth.block_ids]).astype(np.int64)
    if plan.block_copies:
        arrays["block_copies"] = np.array(plan.block_copies, dtype=np.int64)
    return PlanTensors(**to_device(arrays, device))


def _batch_arrays(plan: SchedulerOutput) -> dict[str, np.ndarray]:
    decode_rows = plan.decode_rows.astype(np.int64)
    if not plan.prefills:
        return {"rows": decode_rows}
    num_decodes = len(decode_rows)
    prefill_rows = [chunk.row for chunk in plan.prefills]
    query_lens = np.ones(num_decodes + len(prefill_rows), dtype=np.int32)
    query_lens[num_decodes:] = [len(chunk.token_ids) for chunk in plan.prefills]
    samples = np.ones(len(query_lens), dtype=np.bool_)
    samples[num_decodes:] = [chunk.samples for chunk in plan.prefills]
    return {
        "rows": np.concatenate([decode_rows, np.array(prefill_rows, dtype=np.int64)]),
        "query_start_loc": np.concatenate([[0], np.cumsum(query_lens)]).astype(np.int32),
        "prefill_token_ids": np.concatenate([chunk.token_ids for chunk in plan.prefills]).astype(np.int32),
        "sampled_seqs": np.flatnonzero(samples),
    }


def _admission_arrays(admissions: tuple[Admission, ...]) -> dict[str, np.ndarray]:
    params = [admission.sampling_params for admission in admissions]
    floats = [(p.temperature, p.top_p, p.min_p) for p in params]
    blocks = [_block_entries(admission) for admission in admissions]
    arrays: dict[str, np.ndarray] = {
        "admitted_rows": np.array([a.row for a in admissions], dtype=np.int64),
        "admitted_computed": np.array([a.num_computed_tokens for a in admissions], dtype=np.int64),
        "admitted_seeds": np.array([_as_int64(a.seed) for a in admissions], dtype=np.int64),
        "admitted_top_k": np.array([p.top_k for p in params], dtype=np.int32),
        "admitted_floats": np.array(floats, dtype=np.float32).T,
    }
    if any(entries.size for entries in blocks):
        arrays["admitted_blocks"] = np.concatenate(blocks, axis=1)
    return arrays


def _block_entries(admission: Admission) -> np.ndarray:
    """Return int64 ``[3, num_blocks]``: row, column, block id."""
    num_blocks = len(admission.block_ids)
    return np.stack([np.full(num_blocks, admission.row), np.arange(num_blocks), admission.block_ids]).astype(np.int64)


def _as_int64(seed: int) -> int:
    """Map a 64-bit seed, signed or unsigned, to the signed number with the same bits."""
    return (seed + 2**63) % 2**64 - 2**63
