"""Learns from executed steps what preemption costs here: blocks over the bus, and prompt tokens on the device.

Used by the engine core, on the engine thread, which hands the figures to the scheduler. Knows no clock: it is told.
"""

from __future__ import annotations

from collections import deque

from pagednb.scheduler.output import SchedulerOutput
from pagednb.scheduler.preemption import PreemptionCosts

PRIOR_BYTES_PER_S = 25e9
"""Taken for the bus until blocks have moved: what a 16-lane slot of the fourth generation does. A bus that is slower
costs one slow swap before it is known; one that is faster is known after the first swap, which small models may never
ask for."""

NUM_REMEMBERED = 16
"""Steps that count: enough to even them out, few enough to forget those that compiled kernels."""
STALE_AFTER_STEPS = 1000
"""Steps without a move, some ten seconds, that make the moves before them count no more. One that was slow by accident
would else be the last, since it is moves that would show better."""
_MIN_TOKENS_MEASURED = 256  # smaller steps read weights, whatever the number of tokens


class PreemptionMeter:
    """``costs`` are those of blocks of ``block_bytes``, from the steps recorded last."""

    def __init__(self, *, block_bytes: int) -> None:
        self._prior = PreemptionCosts(move_s_per_block=block_bytes / PRIOR_BYTES_PER_S)
        self.costs = self._prior
        self._moves = _Pace()
        self._prompts = _Pace()
        self._num_steps_without = 0  # a move

    def record(self, plan: SchedulerOutput, *, device_s: float, swap_s: float | None) -> bool:
        """Learn from a step whose moves took ``swap_s`` and all else ``device_s``; return whether costs changed."""
        has_news = self._record_moves(len(plan.swap_outs) + len(plan.swap_ins), swap_s)
        if plan.num_tokens - len(plan.decode_rows) >= _MIN_TOKENS_MEASURED:
            self._prompts.add(device_s, plan.num_tokens)
            has_news = True
        if has_news:
            self.costs = PreemptionCosts(
                move_s_per_block=self._moves.seconds_each(self._prior.move_s_per_block),
                compute_s_per_token=self._prompts.seconds_each(self._prior.compute_s_per_token),
            )
        return has_news

    def _record_moves(self, num_moved: int, swap_s: float | None) -> bool:
        if num_moved and swap_s is not None:
            self._moves.add(swap_s, num_moved)
            self._num_steps_without = 0
            return True
        self._num_steps_without += 1
        is_stale = self._num_steps_without == STALE_AFTER_STEPS
        if is_stale:
            self._moves = _Pace()
        return is_stale


class _Pace:
    """Seconds for one of something, over the last times that many were done at once."""

    def __init__(self) -> None:
        self._done: deque[tuple[float, int]] = deque(maxlen=NUM_REMEMBERED)

    def add(self, seconds: float, count: int) -> None:
        self._done.append((seconds, count))

    def seconds_each(self, prior: float) -> float:
        if not self._done:
            return prior
        return sum(seconds for seconds, _ in self._done) / sum(count for _, count in self._done)
