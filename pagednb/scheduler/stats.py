"""What the scheduler can tell about itself: figures for status, metrics and benchmarks."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from pagednb.scheduler.preemption import PreemptionCosts


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerStats:
    """A moment's figures.

    Attributes:
        num_blocks: blocks that requests can own (scratch excluded): ``num_used_blocks`` are held by running requests,
            ``num_cached_blocks`` by nobody but keep a prefix, the rest is free.
        waste: share of the slots in the block tables of running requests that hold no token, now; ``mean_waste``: over
            all steps. A shared block counts for each table that it is in.
        mean_memory_waste: as ``mean_waste``, but a shared block counts once: sharing saves the full blocks and leaves
            the half-empty last ones.
        num_prefix_tokens_hit, num_prefix_tokens_asked: prompt tokens found computed already, of all admitted.
        num_preemptions: how often a request lost its row before its end; ``num_swaps`` times its blocks went to host
            memory, where ``num_swapped`` of the waiting requests have theirs now, ``num_used_host_blocks`` of
            ``num_host_blocks``.
        num_blocks_swapped_out, num_blocks_swapped_in: blocks copied to host memory and back.
        preemption_costs: by which the next preemption is decided, with ``lost_share``, the part of what preempted
            requests left in blocks that was gone when they came back, lately.
    """

    num_waiting: int
    num_running: int
    num_blocks: int
    num_used_blocks: int
    num_cached_blocks: int
    waste: float
    mean_waste: float
    mean_memory_waste: float
    num_prefix_tokens_hit: int
    num_prefix_tokens_asked: int
    num_preemptions: int
    num_swaps: int = 0
    num_swapped: int = 0
    num_host_blocks: int = 0
    num_used_host_blocks: int = 0
    num_blocks_swapped_out: int = 0
    num_blocks_swapped_in: int = 0
    preemption_costs: PreemptionCosts = dataclasses.field(default_factory=PreemptionCosts)
    lost_share: float = 1.0

    @property
    def prefix_hit_rate(self) -> float:
        """Share of admitted prompt tokens that need not be computed."""
        return self.num_prefix_tokens_hit / self.num_prefix_tokens_asked if self.num_prefix_tokens_asked else 0.0

    @property
    def host_usage(self) -> float:
        """Share of the host blocks that are in use."""
        return self.num_used_host_blocks / self.num_host_blocks if self.num_host_blocks else 0.0


class SlotUse(NamedTuple):
    """Slots in block tables, slots in the blocks of those tables (shared ones once), and slots without a token."""

    num_in_tables: int = 0
    num_in_memory: int = 0
    num_empty: int = 0

    @property
    def waste(self) -> float:
        """Share of the slots in tables that hold no token."""
        return self.num_empty / self.num_in_tables if self.num_in_tables else 0.0

    @property
    def memory_waste(self) -> float:
        """Share of the slots in memory that hold no token."""
        return self.num_empty / self.num_in_memory if self.num_in_memory else 0.0

    def plus(self, other: SlotUse) -> SlotUse:
        """Return the sum, for a mean over steps."""
        return SlotUse(
            self.num_in_tables + other.num_in_tables,
            self.num_in_memory + other.num_in_memory,
            self.num_empty + other.num_empty,
        )


@dataclasses.dataclass(slots=True)
class Counters:
    """Sums over the scheduler's life; a reset does not clear them."""

    num_preemptions: int = 0
    num_swaps: int = 0
    num_blocks_swapped_out: int = 0
    num_blocks_swapped_in: int = 0
    num_prefix_tokens_hit: int = 0
    num_prefix_tokens_asked: int = 0
    slot_use: SlotUse = dataclasses.field(default_factory=SlotUse)
