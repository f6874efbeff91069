"""Learns from executed steps what preemption costs here: blocks over the bus, and prompt tokens on the device.

Used by the engine core, on the engine thread, which hands the figures to the scheduler. Knows no clock: it is told.
"""

from __future__ import annotations

import statistics
from collections import deque

from pagednb.scheduler.output import SchedulerOutput
from pagednb.scheduler.preemption import PreemptionCosts

PRIOR_BYTES_PER_S = 25e9
"""Taken for the bus until blocks have moved: what a 16-lane slot of the fourth generation does. A bus that is slower
costs one slow swap before it is known; for one that is faster, requests of small models are computed again at first."""

_NUM_REMEMBERED = 9  # the median of so many: first steps compile kernels and first moves take memory
_MIN_TOKENS_MEASURED = 256  # smaller steps read weights, whatever the number of tokens


class PreemptionMeter:
    """``costs`` are those of blocks of ``block_bytes``, from the steps recorded last."""

    def __init__(self, *, block_bytes: int) -> None:
        self.costs = PreemptionCosts(move_s_per_block=block_bytes / PRIOR_BYTES_PER_S)
        self._move_s: deque[float] = deque(maxlen=_NUM_REMEMBERED)  # of a block
        self._compute_s: deque[float] = deque(maxlen=_NUM_REMEMBERED)  # of a token

    def record(self, plan: SchedulerOutput, *, device_s: float, swap_s: float | None) -> bool:
        """Learn from a step that took ``device_s``, ``swap_s`` of it for its moves; return whether costs changed."""
        num_moved = len(plan.swap_outs) + len(plan.swap_ins)
        if num_moved and swap_s is not None:
            self._move_s.append(swap_s / num_moved)
        num_prompt_tokens = plan.num_tokens - len(plan.decode_rows)
        has_computed = num_prompt_tokens >= _MIN_TOKENS_MEASURED
        if has_computed:
            self._compute_s.append(max(device_s - (swap_s or 0.0), 0.0) / plan.num_tokens)
        if not (num_moved or has_computed):
            return False
        self.costs = PreemptionCosts(
            move_s_per_block=_median(self._move_s, self.costs.move_s_per_block),
            compute_s_per_token=_median(self._compute_s, self.costs.compute_s_per_token),
        )
        return True


def _median(values: deque[float], prior: float) -> float:
    return statistics.median(values) if values else prior
