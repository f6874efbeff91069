"""The blocks of the KV cache: free, in use (counted), or cached and evictable.

::

    free  --allocate-->  in use (count >= 1)  --release, not cached-->  free
                              |      ^
               release, cached|      | acquire
                              v      |
                           evictable, least recently released first  --allocate evicts-->  in use

Block 0 is scratch and belongs to nobody.
"""

from __future__ import annotations

import numpy as np

from pagednb.kv_cache.prefix_cache import PrefixCache


class BlockPool:
    """Hands out blocks by number and counts who holds them."""

    def __init__(self, num_blocks: int) -> None:
        assert num_blocks >= 2, f"{num_blocks} blocks leave none beside scratch"
        self.num_blocks = num_blocks
        self.cache = PrefixCache()
        self.ref_counts = np.zeros(num_blocks, dtype=np.int32)
        self._free = list(range(num_blocks - 1, 0, -1))
        self._evictable: dict[int, None] = {}  # in order of release

    @property
    def num_usable(self) -> int:
        """Blocks that requests can own."""
        return self.num_blocks - 1

    @property
    def num_free(self) -> int:
        """Blocks that can be allocated now, evictable ones included."""
        return len(self._free) + len(self._evictable)

    @property
    def num_evictable(self) -> int:
        """Blocks that nobody holds and that keep a cached prefix."""
        return len(self._evictable)

    def allocate(self, count: int) -> np.ndarray:
        """Take ``count`` blocks, int32; evicts the least recently released cached ones when none is free."""
        assert count <= self.num_free, f"{count} blocks asked, {self.num_free} free"
        num_free = min(count, len(self._free))
        taken = self._free[len(self._free) - num_free :]
        del self._free[len(self._free) - num_free :]
        for _ in range(count - num_free):
            block = next(iter(self._evictable))
            del self._evictable[block]
            self.cache.forget(block)
            taken.append(block)
        blocks = np.array(taken, dtype=np.int32)
        self.ref_counts[blocks] = 1
        return blocks

    def acquire(self, blocks: np.ndarray) -> None:
        """Hold ``blocks`` once more; evictable ones come back into use."""
        for block in blocks[self.ref_counts[blocks] == 0].tolist():
            del self._evictable[block]
        self.ref_counts[blocks] += 1

    def release(self, blocks: np.ndarray) -> None:
        """Let go of ``blocks``, a sequence's table in order: its tail becomes evictable first, its head last."""
        assert (self.ref_counts[blocks] > 0).all(), "a block was released twice"
        self.ref_counts[blocks] -= 1
        for block in blocks[self.ref_counts[blocks] == 0][::-1].tolist():
            if block in self.cache:
                self._evictable[block] = None
            else:
                self._free.append(block)

    def drop_cache(self) -> None:
        """Forget all cached prefixes; evictable blocks become free."""
        self._free.extend(self._evictable)
        self._evictable.clear()
        self.cache = PrefixCache()

    def check_integrity(self) -> None:
        """Raise AssertionError unless every block is in exactly one state and no count is off."""
        in_use = int((self.ref_counts > 0).sum())
        total = in_use + len(self._free) + len(self._evictable)
        assert total == self.num_usable, f"{in_use} in use + {self.num_free} free != {self.num_usable} blocks"
        idle = [*self._free, *self._evictable]
        assert len(set(idle)) == len(idle), "a block is free twice"
        assert not self.ref_counts[idle].any(), "a free block is held"
        assert not self.ref_counts[0] and 0 not in idle, "scratch was handed out"
        assert (self.ref_counts >= 0).all(), "a count is negative"
        assert all(block in self.cache for block in self._evictable), "an evictable block is not cached"
        assert not any(block in self.cache for block in self._free), "a free block is cached"
        self.cache.check_integrity()
