"""Block tables: which blocks hold each row's tokens, in order.

One row of the table per row of running state. Speaks of rows and block counts; which request owns a row, and when it
runs, is the scheduler's affair.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pagednb.config import CacheGeometry
from pagednb.kv_cache.block_pool import BlockPool


class WriteNeeds(NamedTuple):
    """Rows that cannot write their next token yet: some need one more block, some a block of their own."""

    growing: np.ndarray  # int32 [num_growing]
    shared: np.ndarray  # int32 [num_shared]

    @property
    def num_blocks(self) -> int:
        """Blocks that must be allocated."""
        return len(self.growing) + len(self.shared)


class BlockManager:
    """Tables of all rows over one pool."""

    def __init__(self, geometry: CacheGeometry, num_rows: int) -> None:
        self.block_size = geometry.block_size
        self.pool = BlockPool(geometry.num_blocks)
        self.num_blocks = np.zeros(num_rows, dtype=np.int32)
        self._tables = np.zeros((num_rows, geometry.max_blocks_per_seq), dtype=np.int32)

    def table(self, row: int) -> np.ndarray:
        """Return the row's blocks, int32 ``[num_blocks]``, a view."""
        return self._tables[row, : self.num_blocks[row]]

    def blocks_for(self, num_tokens: int) -> int:
        """Return how many blocks hold ``num_tokens``."""
        return -(-num_tokens // self.block_size)

    def num_missing(self, num_tokens: int, cached: Sequence[int]) -> int:
        """Return how many free blocks ``assign`` would use up: new ones, and cached ones that nobody holds."""
        idle = int((self.pool.ref_counts[list(cached)] == 0).sum()) if len(cached) else 0
        return self.blocks_for(num_tokens) - len(cached) + idle

    def assign(self, row: int, num_tokens: int, cached: Sequence[int]) -> None:
        """Give an empty row ``cached`` blocks (shared) and new ones up to ``num_tokens``."""
        assert self.num_blocks[row] == 0, f"row {row} already owns {self.num_blocks[row]} blocks"
        held = np.array(cached, dtype=np.int32)
        self.pool.acquire(held)
        total = self.blocks_for(num_tokens)
        self._tables[row, : len(held)] = held
        self._tables[row, len(held) : total] = self.pool.allocate(total - len(held))
        self.num_blocks[row] = total

    def write_needs(self, rows: np.ndarray, positions: np.ndarray) -> WriteNeeds:
        """Say which ``rows`` need blocks before they write at ``positions``, their next ones."""
        columns = positions // self.block_size
        growing = columns >= self.num_blocks[rows]
        blocks = self._tables[rows, np.where(growing, 0, columns)]
        shared = ~growing & (self.pool.ref_counts[blocks] > 1)
        return WriteNeeds(rows[growing], rows[shared])

    def grow(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Append a block to each row; return (columns, blocks)."""
        columns = self.num_blocks[rows]
        blocks = self.pool.allocate(len(rows))
        self._tables[rows, columns] = blocks
        self.num_blocks[rows] += 1
        return columns, blocks

    def make_private(self, row: int, column: int) -> tuple[int, int] | None:
        """Replace a shared block by a new one; return (source, destination) to copy, None if it was private."""
        source = int(self._tables[row, column])
        if self.pool.ref_counts[source] == 1:
            return None
        (destination,) = self.pool.allocate(1)
        self.pool.ref_counts[source] -= 1
        self._tables[row, column] = destination
        return source, int(destination)

    def cache_blocks(self, row: int, digests: Sequence[bytes], *, first: int = 0) -> None:
        """Register the row's blocks from ``first`` on as holding the prefixes ``digests``."""
        for column in range(first, len(digests)):
            self.pool.cache.insert(digests[column], int(self._tables[row, column]))

    def release(self, row: int) -> None:
        """Let go of all blocks of a row."""
        self.pool.release(self.table(row))
        self.num_blocks[row] = 0

    def check_integrity(self) -> None:
        """Raise AssertionError unless every count equals the table entries that hold the block."""
        self.pool.check_integrity()
        held = np.zeros(self.pool.num_blocks, dtype=np.int32)
        for row in np.flatnonzero(self.num_blocks).tolist():
            np.add.at(held, self.table(row), 1)
        wrong = np.flatnonzero(held != self.pool.ref_counts)
        assert not len(wrong), f"blocks {wrong[:5]}: held {held[wrong[:5]]}, counted {self.pool.ref_counts[wrong[:5]]}"
