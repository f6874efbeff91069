"""What the scheduler can tell about itself: figures for status, metrics and benchmarks."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerStats:
    """A moment's figures.

    Attributes:
        num_blocks: blocks that requests can own (scratch excluded): ``num_used_blocks`` are held by running requests,
            ``num_cached_blocks`` by nobody but keep a prefix, the rest is free.
        waste: share of the slots in running requests' blocks that hold no token, now; ``mean_waste``: over all steps.
        num_prefix_tokens_hit, num_prefix_tokens_asked: prompt tokens found in the prefix cache, of all admitted.
    """

    num_waiting: int
    num_running: int
    num_blocks: int
    num_used_blocks: int
    num_cached_blocks: int
    waste: float
    mean_waste: float
    num_prefix_tokens_hit: int
    num_prefix_tokens_asked: int
    num_preemptions: int

    @property
    def prefix_hit_rate(self) -> float:
        """Share of admitted prompt tokens that the prefix cache held."""
        return self.num_prefix_tokens_hit / self.num_prefix_tokens_asked if self.num_prefix_tokens_asked else 0.0


@dataclasses.dataclass(slots=True)
class Counters:
    """Sums over the scheduler's life."""

    steps: int = 0
    prefix_tokens_hit: int = 0
    prefix_tokens_asked: int = 0
    preemptions: int = 0
    slots: int = 0
    wasted_slots: int = 0
