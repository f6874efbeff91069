"""Which blocks of the KV cache are free: free list, reference counts, and the order in which cached blocks are evicted.

The block manager is its only caller. It knows block numbers; not tokens, not requests, not what a cached block holds.
A block is in exactly one of four states::

    scratch (block 0) | used (reference count > 0) | blank (free, content worthless) | cached (free, content kept)

"Free" means blank or cached. Blank blocks are handed out first, then the cached block that was freed longest ago.
"""

from __future__ import annotations

import numpy as np

from pagednb.kv_cache.eviction_queue import EvictionQueue

SCRATCH_BLOCK = 0


class BlockPool:
    """Hands out blocks and takes them back; a block may have several owners."""

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self.ref_counts = np.zeros(num_blocks, dtype=np.int32)  # read by others, written here
        self.keeps_content = np.zeros(num_blocks, dtype=np.bool_)  # read by others, written here
        self._blank = np.arange(num_blocks - 1, -1, -1, dtype=np.int32)  # a stack of _num_blank blocks, lowest on top
        self._num_blank = num_blocks - 1
        self._cached = EvictionQueue(num_blocks)

    @property
    def num_free(self) -> int:
        """Blocks that ``allocate`` can hand out."""
        return self._num_blank + self._cached.length

    @property
    def num_cached(self) -> int:
        """Free blocks whose content is kept."""
        return self._cached.length

    @property
    def num_used(self) -> int:
        """Blocks with an owner."""
        return self.num_blocks - 1 - self.num_free

    def allocate(self, count: int) -> tuple[np.ndarray, list[int]]:
        """Return int32 ``[count]`` blocks with one owner each, and those among them whose kept content is lost now."""
        assert count <= self.num_free, f"{count} blocks wanted, {self.num_free} free"
        bottom = max(self._num_blank - count, 0)
        block_ids = self._blank[bottom : self._num_blank][::-1].copy()  # the stack's memory is written again
        self._num_blank = bottom
        evicted: list[int] = []
        if count > len(block_ids):
            lost = self._cached.pop(count - len(block_ids))
            self.keeps_content[lost] = False
            block_ids, evicted = np.concatenate([block_ids, lost]), lost.tolist()
        self.ref_counts[block_ids] = 1
        return block_ids, evicted

    def acquire(self, block_ids: np.ndarray) -> None:
        """Add an owner to each of ``block_ids`` (no duplicates), which are used or cached."""
        if not len(block_ids):
            return
        free = block_ids[self.ref_counts[block_ids] == 0]
        if len(free):
            self._cached.remove(free)
        self.ref_counts[block_ids] += 1

    def release(self, block_ids: np.ndarray) -> None:
        """Take one owner from a block for each time it is listed; list first what may be evicted first."""
        # in these dtypes NumPy's own loop runs, twenty times as fast as with casts
        np.subtract.at(self.ref_counts, block_ids.astype(np.intp), np.int32(1))
        freed = block_ids[self.ref_counts[block_ids] == 0]
        keeps = self.keeps_content[freed]
        self._cached.push(freed[keeps])
        self._push_blank(np.unique(freed[~keeps]))

    def keep_content(self, block_ids: list[int]) -> None:
        """From now on the content of these used blocks is worth keeping when their last owner leaves."""
        self.keeps_content[block_ids] = True

    def forget_content(self) -> None:
        """Nothing that any block holds is worth keeping."""
        self.keeps_content[:] = False
        self._push_blank(self._cached.block_ids)
        self._cached.clear()

    def _push_blank(self, block_ids: np.ndarray) -> None:
        top = self._num_blank + len(block_ids)
        self._blank[self._num_blank : top] = block_ids[::-1]
        self._num_blank = top

    def check_integrity(self, references: np.ndarray, kept_blocks: set[int]) -> None:
        """Compare with what the owners say.

        ``references`` int64 ``[num_blocks]`` counts each block's owners; ``kept_blocks`` are those with a name in the
        prefix cache. Raises AssertionError with numbers.
        """
        wrong = np.flatnonzero(references != self.ref_counts)
        assert not len(wrong), f"blocks {wrong}: {references[wrong]} owners, counted {self.ref_counts[wrong]}"
        assert self.ref_counts[SCRATCH_BLOCK] == 0, "the scratch block has an owner"
        blank, cached = self._blank[: self._num_blank].tolist(), self._cached.block_ids.tolist()
        assert len(cached) == self.num_cached, f"{len(cached)} blocks in the eviction queue, counted {self.num_cached}"
        free = [*blank, *cached]
        used = np.flatnonzero(self.ref_counts).tolist()
        assert sorted([SCRATCH_BLOCK, *free, *used]) == list(range(self.num_blocks)), (
            f"{len(used)} used and {len(free)} free blocks ({len(set(free))} different) of {self.num_blocks}"
        )
        flagged = set(np.flatnonzero(self.keeps_content).tolist())
        assert flagged == kept_blocks, f"content kept of {flagged - kept_blocks}, named are {kept_blocks - flagged}"
        assert kept_blocks.isdisjoint(blank), f"blank blocks {kept_blocks & set(blank)} have a name"
        assert kept_blocks.issuperset(cached), f"cached blocks {set(cached) - kept_blocks} have no name"
