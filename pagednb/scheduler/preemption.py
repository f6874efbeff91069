"""What it costs to take a request's blocks away: moving them to host memory and back, or computing its tokens again.

One decision, made from figures that the engine core measures and hands in; see ``engine/preemption_meter.py``. Between
two updates of the figures it depends on nothing else, so a plan can be foretold.
"""

from __future__ import annotations

import dataclasses

SWAP_OVERHEAD_S = 0.0005
"""Of a request's way out and back, whatever its length: a few launches, and a chunk of one token."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PreemptionCosts:
    """Seconds for a block on its way in one direction, and for a known token that is computed again.

    The defaults stand until something was measured: two MiB over a bus of 25 GB/s, and 20,000 tokens a second.
    """

    move_s_per_block: float = 2 * 2**20 / 25e9
    compute_s_per_token: float = 1 / 20_000

    def swap_s(self, num_blocks: int) -> float:
        """Return what it takes to move ``num_blocks`` out and back."""
        return SWAP_OVERHEAD_S + 2 * num_blocks * self.move_s_per_block

    def recompute_s(self, num_tokens: int) -> float:
        """Return what it takes to compute ``num_tokens`` again."""
        return num_tokens * self.compute_s_per_token

    def prefers_swap(self, *, num_blocks: int, num_tokens: int) -> bool:
        """Whether moving ``num_blocks`` is cheaper than computing the ``num_tokens`` that they hold."""
        return self.swap_s(num_blocks) < self.recompute_s(num_tokens)
