"""What a plan changes, packed and sent to the device in one transfer.

The only place that walks a plan's admissions in Python; a steady decode step sends nothing here.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from pagednb.sampling.transfer import to_device
from pagednb.scheduler.output import Admission, SchedulerOutput

NUM_INTS = 4
NUM_FLOATS = 3


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PlanDiff:
    """One plan's changes on the device; a part that the plan lacks is None.

    Attributes:
        admitted_rows: int64 ``[num_admitted]``.
        admitted_ints: int64 ``[NUM_INTS, num_admitted]``: computed tokens, most tokens, seed, top_k.
        admitted_floats: float32 ``[NUM_FLOATS, num_admitted]``: temperature, top_p, min_p.
        admitted_blocks: int32 ``[2, n]``, places in the block table, ``row * table_width + column``, and the block ids
            that go there.
        grown_blocks: the same of rows that were there.
        block_copies: int64 ``[num_copies, 2]``: source, destination.
    """

    admitted_rows: torch.Tensor | None = None
    admitted_ints: torch.Tensor | None = None
    admitted_floats: torch.Tensor | None = None
    admitted_blocks: torch.Tensor | None = None
    grown_blocks: torch.Tensor | None = None
    block_copies: torch.Tensor | None = None


def send_diff(plan: SchedulerOutput, device: torch.device, *, table_width: int) -> PlanDiff:
    """Send what ``plan`` changes to the device, in two copies at most; none where it changes nothing."""
    growth = plan.growth
    grown_blocks = None
    if len(growth.rows):
        # apart from the rest: this is all that a steady batch changes, and each view of a packed buffer is a call in
        # which another thread may take the interpreter lock
        cells = growth.rows * np.int32(table_width) + growth.columns
        grown_blocks = _send(np.stack([cells, growth.block_ids]).astype(np.int32), device)
    if not plan.admissions and not plan.block_copies:
        return PlanDiff(grown_blocks=grown_blocks)
    arrays = _admission_arrays(plan.admissions, table_width) if plan.admissions else {}
    if plan.block_copies:
        arrays["block_copies"] = np.array(plan.block_copies, dtype=np.int64)
    return PlanDiff(**to_device(arrays, device), grown_blocks=grown_blocks)


def _send(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """Copy one array to the device without waiting for it."""
    host = torch.from_numpy(array)
    return host if device.type == "cpu" else host.pin_memory().to(device, non_blocking=True)


def _admission_arrays(admissions: tuple[Admission, ...], table_width: int) -> dict[str, np.ndarray]:
    params = [admission.sampling_params for admission in admissions]
    ints = [(a.num_computed_tokens, a.max_total_tokens, _as_int64(a.seed), a.sampling_params.top_k) for a in admissions]
    floats = [(p.temperature, p.top_p, p.min_p) for p in params]
    arrays: dict[str, np.ndarray] = {
        "admitted_rows": np.array([a.row for a in admissions], dtype=np.int64),
        "admitted_ints": np.array(ints, dtype=np.int64).T,
        "admitted_floats": np.array(floats, dtype=np.float32).T,
    }
    block_ids = np.concatenate([a.block_ids for a in admissions])
    if len(block_ids):
        counts = np.array([len(a.block_ids) for a in admissions])
        # entry i of all lies in column i - (entries of the rows before)
        first_cells = arrays["admitted_rows"] * table_width - (counts.cumsum() - counts)
        cells = np.repeat(first_cells, counts) + np.arange(len(block_ids))
        arrays["admitted_blocks"] = np.stack([cells, block_ids]).astype(np.int32)
    return arrays


def _as_int64(seed: int) -> int:
    """Map a 64-bit seed, signed or unsigned, to the signed number with the same bits."""
    return (seed + 2**63) % 2**64 - 2**63
