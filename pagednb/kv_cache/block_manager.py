"""Block tables: which blocks hold the tokens of each row, shared or its own.

The scheduler calls it with rows and token counts; block numbers come from the pool, names of full blocks from the
prefix cache. Whatever is done for many rows in every step is done for all of them at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pagednb.config import CacheGeometry
from pagednb.kv_cache.block_pool import SCRATCH_BLOCK, BlockPool
from pagednb.kv_cache.followers import Follower, Followers
from pagednb.kv_cache.prefix_cache import BlockHasher, PrefixCache, root_digest

_MIN_COLUMNS = 16
_MIN_COPIED_TOKENS = 2
"""For less a copy is not worth it: one token costs as much to compute as a few kilobytes of a block to move."""


class GrownBlocks(NamedTuple):
    """New entries ``table[rows[i], columns[i]] = block_ids[i]``, int32 ``[num_grown]`` each."""

    rows: np.ndarray
    columns: np.ndarray
    block_ids: np.ndarray


class PrefixMatch(NamedTuple):
    """Blocks that hold the beginning of a sequence already; ``num_used`` of them have an owner, the rest are free.

    ``num_tokens`` counts what need not be computed. If that is more than the blocks hold, the rest is the beginning of
    ``copied_block_id``, of which the sequence needs a copy of its own.
    """

    block_ids: np.ndarray  # int32 [num_blocks]
    num_used: int
    num_tokens: int
    copied_block_id: int | None = None


_NO_BLOCKS = np.empty(0, dtype=np.int32)


class NewRow(NamedTuple):
    """A free row's first ``num_tokens`` tokens: blocks it shares, which are acquired already, then blocks of its own.

    ``digests`` name the sequence's blocks from the first on, as far as they are known; those of its own that are full
    can be found by them from now on. ``token_ids``, int32, are what was hashed, with ``salt`` at the root.
    """

    row: int
    shared_block_ids: np.ndarray  # int32 [num_shared]
    num_tokens: int
    digests: Sequence[bytes]
    token_ids: np.ndarray = _NO_BLOCKS
    salt: bytes = b""


class BlockManager:
    """Block tables of ``max_num_seqs`` rows over one pool."""

    def __init__(self, geometry: CacheGeometry, max_num_seqs: int, *, enable_prefix_caching: bool) -> None:
        self.block_size = geometry.block_size
        self.pool = BlockPool(geometry.num_blocks)
        self.num_blocks = np.zeros(max_num_seqs, dtype=np.int32)  # read by others, written here
        self._tables = np.zeros((max_num_seqs, _MIN_COLUMNS), dtype=np.int32)  # columns are added as needed
        self._hasher = BlockHasher(geometry.block_size)
        self._prefix_cache = PrefixCache()
        self._followers = Followers()
        self._is_caching = enable_prefix_caching

    def begin_step(self) -> None:
        """A plan is made; what the last one computes will be written before it."""
        self._followers.begin_step()

    def blocks_for(self, num_tokens: int) -> int:
        """Return how many blocks ``num_tokens`` tokens need."""
        return -(-num_tokens // self.block_size)

    def blocks_ahead(self, num_tokens: int, max_total: int) -> int:
        """Return how many blocks a sequence needs soon: for its tokens and, unless it ends before, one more.

        The last of ``max_total`` tokens is sampled and never computed.
        """
        return self.blocks_for(min(num_tokens - 1 + self.block_size, max_total - 1))

    def num_slots(self, rows: np.ndarray) -> np.ndarray:
        """Return int32 ``[num_rows]``: how many tokens the blocks of ``rows`` hold."""
        num_slots: np.ndarray = self.num_blocks[rows] * self.block_size
        return num_slots

    def table(self, row: int) -> np.ndarray:
        """Return a copy of the row's block table, int32 ``[num_blocks]``."""
        return self._tables[row, : self.num_blocks[row]].copy()

    def leading_blocks(self, rows: np.ndarray, num_columns: int) -> np.ndarray:
        """Return int32 ``[num_rows, num_columns]``; columns past a row's ``num_blocks`` mean nothing."""
        blocks: np.ndarray = self._tables[rows, :num_columns]
        return blocks

    # prefixes

    def find_prefix(self, digests: list[bytes], token_ids: np.ndarray, salt: bytes) -> PrefixMatch:
        """Return what ``token_ids`` can start with; one token at least remains to be computed.

        Completes ``digests``, the caller's list of the sequence's block digests.
        """
        if not self._is_caching:
            return PrefixMatch(_NO_BLOCKS, 0, 0)
        self._hasher.extend(digests, token_ids, salt)
        num_allowed = (len(token_ids) - 1) // self.block_size
        block_ids = np.array(self._prefix_cache.match(digests[:num_allowed]), dtype=np.int32)
        num_used = int(np.count_nonzero(self.pool.ref_counts[block_ids]))
        num_tokens = len(block_ids) * self.block_size
        follower = self._followers.find(_prefix_digest(digests, len(block_ids), salt))
        if follower is None or follower.token_ids[0] != token_ids[num_tokens]:
            return PrefixMatch(block_ids, num_used, num_tokens)
        num_common = follower.num_common(token_ids[num_tokens : min(num_tokens + self.block_size, len(token_ids) - 1)])
        if num_common < _MIN_COPIED_TOKENS:
            return PrefixMatch(block_ids, num_used, num_tokens)
        return PrefixMatch(block_ids, num_used, num_tokens + num_common, follower.block_id)

    def register_prefix(self, row: int, digests: Sequence[bytes], columns: range) -> None:
        """Name the row's full blocks in ``columns``, as far as ``digests`` go: other sequences may start with them.

        Their KV need not be written yet: any later reader runs later on the device, or in the same pass, in which
        every layer writes all K and V before it reads.
        """
        self.pool.keep_content(self._name(self._tables[row], digests, columns))

    def has_unnamed(self, digests: list[bytes], num_tokens: int) -> bool:
        """Whether ``num_tokens`` tokens fill blocks beyond those that ``digests`` names."""
        return self._is_caching and num_tokens // self.block_size > len(digests)

    def register_ended(self, row: int, digests: list[bytes], token_ids: np.ndarray, salt: bytes) -> None:
        """Name the row's remaining full blocks; ``token_ids`` are its known tokens whose KV is computed."""
        first_new = len(digests)
        self._hasher.extend(digests, token_ids, salt)
        self.register_prefix(row, digests, range(first_new, len(digests)))

    def reset_prefix_cache(self) -> None:
        """Forget all cached prefixes; running rows keep their blocks."""
        self._prefix_cache.clear()
        self._followers.clear()
        self.pool.forget_content()

    def num_findable(self, row: int) -> int:
        """Return how many leading blocks of the row others hold too and ``find_prefix`` knows: they outlive it."""
        table = self._tables[row, : self.num_blocks[row]]
        stays = (self.pool.ref_counts[table] > 1) & self.pool.keeps_content[table]
        return len(table) if stays.all() else int(stays.argmin())

    # rows

    def open_rows(self, new_rows: Sequence[NewRow]) -> list[np.ndarray]:
        """Start the tables of free rows; return copies of them, int32 ``[num_blocks]`` each."""
        rows = [new_row.row for new_row in new_rows]
        assert not self.num_blocks[rows].any(), f"one of the rows {rows} holds blocks"
        counts = [self.blocks_for(new_row.num_tokens) for new_row in new_rows]
        self._reserve_columns(max(counts))
        own = self._allocate(sum(counts) - sum(len(new_row.shared_block_ids) for new_row in new_rows))
        tables, named, first = [], [], 0
        for new_row, count in zip(new_rows, counts, strict=True):
            num_shared = len(new_row.shared_block_ids)
            last = first + count - num_shared
            table = np.concatenate([new_row.shared_block_ids, own[first:last]])
            self._tables[new_row.row, :count] = table
            named_here = self._name(table, new_row.digests, range(num_shared, new_row.num_tokens // self.block_size))
            if named_here and named_here[0] == table[num_shared]:
                self._note_follower(new_row, named_here[0])
            named += named_here
            tables.append(table)
            first = last
        self.num_blocks[rows] = counts
        self.pool.keep_content(named)
        return tables

    def is_writable(self, row: int, position: int) -> bool:
        """Whether the block at ``position`` is the row's own, or not there yet."""
        column = position // self.block_size
        return column >= self.num_blocks[row] or int(self.pool.ref_counts[self._tables[row, column]]) == 1

    def extend_row(self, row: int, num_tokens: int) -> GrownBlocks:
        """Add blocks until the row holds ``num_tokens`` tokens."""
        first = int(self.num_blocks[row])
        last = max(first, self.blocks_for(num_tokens))
        self._reserve_columns(last)
        block_ids = self._allocate(last - first)
        self._tables[row, first:last] = block_ids
        self.num_blocks[row] = last
        rows, columns = np.full(last - first, row, dtype=np.int32), np.arange(first, last, dtype=np.int32)
        return GrownBlocks(rows, columns, block_ids)

    def extend_rows(self, rows: np.ndarray) -> GrownBlocks:
        """Add one block to each of ``rows`` int32 ``[num_rows]``."""
        if not len(rows):
            return GrownBlocks(rows, rows, rows)
        columns = self.num_blocks[rows]
        self._reserve_columns(int(columns.max()) + 1)
        block_ids = self._allocate(len(rows))
        self._tables[rows, columns] = block_ids
        self.num_blocks[rows] += 1
        return GrownBlocks(rows, columns, block_ids)

    def release_rows(self, rows: np.ndarray) -> None:
        """Empty the tables of ``rows``; deep blocks are evicted before the prefixes that lead to them."""
        width = int(self.num_blocks[rows].max())
        columns = np.arange(width - 1, -1, -1)[:, None]  # last column first
        is_held = columns < self.num_blocks[rows]
        self.pool.release(self._tables[rows, columns][is_held])
        self.num_blocks[rows] = 0

    def _note_follower(self, new_row: NewRow, block_id: int) -> None:
        """The row computes its first own block, all of it, in this step."""
        num_shared = len(new_row.shared_block_ids)
        first = num_shared * self.block_size
        token_ids = new_row.token_ids[first : first + self.block_size]
        prefix = _prefix_digest(new_row.digests, num_shared, new_row.salt)
        self._followers.note(prefix, Follower(block_id, token_ids))

    def _name(self, table: np.ndarray, digests: Sequence[bytes], columns: range) -> list[int]:
        """Name the table's blocks in ``columns``, as far as ``digests`` go, and return those that had no name."""
        columns = range(columns.start, min(columns.stop, len(digests)))
        if not self._is_caching or not columns:
            return []
        block_ids = table[columns.start : columns.stop].tolist()
        return self._prefix_cache.register(block_ids, digests[columns.start : columns.stop])

    def _allocate(self, count: int) -> np.ndarray:
        block_ids, evicted = self.pool.allocate(count)
        if evicted:
            self._prefix_cache.forget(evicted)
            self._followers.forget(evicted)
        return block_ids

    def _reserve_columns(self, num_columns: int) -> None:
        if num_columns > self._tables.shape[1]:
            self._tables = with_columns(self._tables, num_columns)

    def check_integrity(self) -> None:
        """Raise AssertionError, with numbers, unless tables, pool and prefix cache agree."""
        is_held = np.arange(self._tables.shape[1]) < self.num_blocks[:, None]
        held = self._tables[is_held]
        assert SCRATCH_BLOCK not in held, "a block table holds the scratch block"
        for row in np.flatnonzero(self.num_blocks).tolist():
            table = self.table(row)
            assert len(np.unique(table)) == len(table), f"row {row} holds a block twice: {table}"
        self._prefix_cache.check_integrity()
        self._followers.check_integrity(self._prefix_cache.block_ids)
        references = np.bincount(held, minlength=self.pool.num_blocks)
        self.pool.check_integrity(references, self._prefix_cache.block_ids)


def _prefix_digest(digests: Sequence[bytes], num_blocks: int, salt: bytes) -> bytes:
    """Return what names a sequence's first ``num_blocks`` blocks."""
    return digests[num_blocks - 1] if num_blocks else root_digest(salt)


def with_columns(table: np.ndarray, num_columns: int) -> np.ndarray:
    """Return ``table`` ``[rows, columns]`` with ``num_columns`` columns at least, and twice those it has."""
    wider = np.zeros((table.shape[0], max(num_columns, 2 * table.shape[1])), dtype=table.dtype)
    wider[:, : table.shape[1]] = table
    return wider
