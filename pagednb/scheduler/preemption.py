"""What it costs to take a request's blocks away: moving them to host memory and back, or computing its tokens again.

One decision, made from figures that the engine core measures and hands in, see ``engine/preemption_meter.py``, and from
how much preempted requests lose: blocks that nobody took meanwhile are found by the prefix cache, either way. It
depends on nothing else, so a plan can be foretold.
"""

from __future__ import annotations

import dataclasses

SWAP_OVERHEAD_S = 0.0005
"""Of a request's way out and back, whatever its length: a few launches, and a chunk of one token."""
_FIRST_GUESS_TOKENS = 1000.0
_WEIGHT_OF_THOSE_BEFORE = 0.9


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PreemptionCosts:
    """Seconds for a block on its way in one direction, and for a known token that is computed again.

    The defaults stand until something was measured: two MiB over a bus of 25 GB/s, and 20,000 tokens a second.
    """

    move_s_per_block: float = 2 * 2**20 / 25e9
    compute_s_per_token: float = 1 / 20_000

    def swap_s(self, num_blocks: int, *, lost_share: float = 1.0) -> float:
        """Return what it takes to move ``num_blocks`` out, and ``lost_share`` of them back."""
        return SWAP_OVERHEAD_S + (1 + lost_share) * num_blocks * self.move_s_per_block

    def recompute_s(self, num_tokens: int, *, lost_share: float = 1.0) -> float:
        """Return what it takes to compute ``lost_share`` of ``num_tokens`` again."""
        return lost_share * num_tokens * self.compute_s_per_token

    def prefers_swap(self, *, num_blocks: int, num_tokens: int, lost_share: float = 1.0) -> bool:
        """Whether moving ``num_blocks`` is cheaper than computing what will be lost of the ``num_tokens`` in them."""
        return self.swap_s(num_blocks, lost_share=lost_share) < self.recompute_s(num_tokens, lost_share=lost_share)


class LostTokens:
    """How much of what preempted requests leave behind is gone when they come back, those last seen counting most."""

    def __init__(self) -> None:
        self._num_left = self._num_lost = _FIRST_GUESS_TOKENS

    @property
    def share(self) -> float:
        """The part that is lost; all until something else was seen."""
        return self._num_lost / self._num_left

    def note(self, *, num_left: int, num_lost: int) -> None:
        """A request that left ``num_left`` tokens in blocks comes back and lacks ``num_lost`` of them."""
        self._num_left = num_left + _WEIGHT_OF_THOSE_BEFORE * self._num_left
        self._num_lost = num_lost + _WEIGHT_OF_THOSE_BEFORE * self._num_lost
