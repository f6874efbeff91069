"""Which blocks of host memory are free: the place where preempted requests leave their KV.

The scheduler's swap space is its only caller. It knows block numbers; the memory itself is ``HostKVStore``'s. A block
has one owner or none: nothing is shared or cached here.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


class HostBlockPool:
    """Hands out blocks and takes them back, those used last first: memory that was never touched stays so."""

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self._free = np.arange(num_blocks - 1, -1, -1, dtype=np.int32)  # a stack of num_free blocks, lowest on top
        self.num_free = num_blocks  # read by others, written here

    @property
    def num_used(self) -> int:
        """Blocks with an owner."""
        return self.num_blocks - self.num_free

    def allocate(self, count: int) -> np.ndarray:
        """Return int32 ``[count]`` blocks, rising: neighbours in memory move together."""
        assert count <= self.num_free, f"{count} host blocks wanted, {self.num_free} free"
        self.num_free -= count
        return np.sort(self._free[self.num_free : self.num_free + count])

    def release(self, block_ids: np.ndarray) -> None:
        """Take back blocks that were handed out."""
        top = self.num_free + len(block_ids)
        self._free[self.num_free : top] = block_ids[::-1]
        self.num_free = top

    def check_integrity(self, held: Iterable[np.ndarray]) -> None:
        """Raise AssertionError unless every block is free or in one of ``held``, once."""
        used = [block_id for block_ids in held for block_id in block_ids.tolist()]
        free = self._free[: self.num_free].tolist()
        assert sorted([*used, *free]) == list(range(self.num_blocks)), (
            f"{len(used)} used and {len(free)} free host blocks ({len({*used, *free})} different) of {self.num_blocks}"
        )
