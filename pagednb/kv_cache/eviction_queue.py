"""Free blocks whose content is kept, least recently freed first. Whole arrays go in and out, never block by block.

The block pool is its only user. A block that is wanted again leaves its entry behind; entries count only while their
block's ticket names them, and the dead ones are dropped when the queue's memory is used up.
"""

from __future__ import annotations

import numpy as np

_NOT_QUEUED = -1
_LOOK_AHEAD = 64  # entries looked at beyond those wanted: some are dead


class EvictionQueue:
    """A queue of blocks below ``num_blocks``, each in it at most once."""

    def __init__(self, num_blocks: int) -> None:
        self._entries = np.zeros(2 * num_blocks, dtype=np.int32)
        self._head = 0
        self._tail = 0
        self._tickets = np.full(num_blocks, _NOT_QUEUED, dtype=np.int64)  # block -> index of its entry
        self.length = 0  # read by others, written here

    @property
    def block_ids(self) -> np.ndarray:
        """The blocks in order, int32."""
        entries = self._entries[self._head : self._tail]
        block_ids: np.ndarray = entries[self._tickets[entries] == np.arange(self._head, self._tail)]
        return block_ids

    def push(self, block_ids: np.ndarray) -> None:
        """Put blocks at the end, none of which is queued; a block that is listed again counts where it is last."""
        if self._tail + len(block_ids) > len(self._entries):
            self._compact(block_ids)
            return
        places = np.arange(self._tail, self._tail + len(block_ids))
        self._entries[places] = block_ids
        self._tickets[block_ids] = places
        self._tail += len(block_ids)
        self.length += int(np.count_nonzero(self._tickets[block_ids] == places))

    def remove(self, block_ids: np.ndarray) -> None:
        """Take out blocks that are queued, wherever they are."""
        assert (self._tickets[block_ids] != _NOT_QUEUED).all(), f"not all of {block_ids} are queued"
        self._tickets[block_ids] = _NOT_QUEUED
        self.length -= len(block_ids)

    def pop(self, count: int) -> np.ndarray:
        """Take out the first ``count`` blocks, int32 ``[count]``."""
        assert count <= self.length, f"{count} blocks wanted, {self.length} queued"
        taken = [np.empty(0, dtype=np.int32)]
        while count:
            places = np.arange(self._head, min(self._head + count + _LOOK_AHEAD, self._tail))
            live = places[self._tickets[self._entries[places]] == places][:count]
            self._head = int((live if len(live) == count else places)[-1]) + 1
            taken.append(self._entries[live])
            self.remove(taken[-1])
            count -= len(live)
        return np.concatenate(taken)

    def clear(self) -> None:
        """Take all out."""
        self._tickets[:] = _NOT_QUEUED
        self._head = self._tail = self.length = 0

    def _compact(self, more: np.ndarray) -> None:
        """Start anew with what is queued and ``more``, each block once: both fit."""
        backwards = more[::-1]
        _, places = np.unique(backwards, return_index=True)
        block_ids = np.concatenate([self.block_ids, backwards[np.sort(places)][::-1]])
        self.clear()
        self.push(block_ids)
