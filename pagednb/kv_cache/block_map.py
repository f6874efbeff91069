"""Who holds each block of the KV cache at one moment, as frozen data for whoever wants to look.

It is made between two steps by copying a few arrays as a whole. Everything else is worked out when
somebody asks, on the thread of whoever asks. A block is in exactly one state::

    scratch (block 0) | free | cached (free, its prefix can still be found) | owned (one request) | shared (several)
"""

from __future__ import annotations

import dataclasses
import enum
import functools

import numpy as np

from pagednb.kv_cache.block_pool import SCRATCH_BLOCK

_NO_COLUMN = -1


class BlockState(enum.IntEnum):
    """What a block is used for."""

    SCRATCH = 0
    FREE = 1
    CACHED = 2
    OWNED = 3
    SHARED = 4


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class BlockMap:
    """The blocks by number and the block tables of the running requests; nothing here is ever written again.

    Attributes:
        block_size: tokens of one block.
        ref_counts: int32 ``[num_blocks]``, the owners of each block; block 0 is scratch and has none.
        keeps_content: bool ``[num_blocks]``, whether a block's prefix has a name in the prefix cache.
        request_ids: int64 ``[num_tables]``, the running requests.
        num_tokens: int64 ``[num_tables]``, tokens whose keys and values lie in the table or are on their way there.
        table_lens: int32 ``[num_tables]``, blocks of each table.
        table_blocks: int32 ``[sum(table_lens)]``, the tables one after another.
    """

    block_size: int
    ref_counts: np.ndarray
    keeps_content: np.ndarray
    request_ids: np.ndarray
    num_tokens: np.ndarray
    table_lens: np.ndarray
    table_blocks: np.ndarray

    @property
    def num_blocks(self) -> int:
        """Blocks that requests can own: all but the scratch block."""
        return len(self.ref_counts) - 1

    @functools.cached_property
    def states(self) -> np.ndarray:
        """The ``BlockState`` of each block, uint8 ``[num_blocks + 1]``; block 0 is the scratch block."""
        states = np.where(self.keeps_content, np.uint8(BlockState.CACHED), np.uint8(BlockState.FREE))
        states[self.ref_counts == 1] = BlockState.OWNED
        states[self.ref_counts > 1] = BlockState.SHARED
        states[SCRATCH_BLOCK] = BlockState.SCRATCH
        return states

    @functools.cached_property
    def entry_tables(self) -> np.ndarray:
        """Index of the table that each entry of ``table_blocks`` belongs to, int64."""
        return np.repeat(np.arange(len(self.table_lens)), self.table_lens)

    @functools.cached_property
    def columns(self) -> np.ndarray:
        """Where in its tables each block stands, int32 ``[num_blocks + 1]``; -1 without an owner.

        A block that several requests share stands at the same place in the tables of all: they begin alike.
        """
        columns = np.full(len(self.ref_counts), _NO_COLUMN, dtype=np.int32)
        columns[self.table_blocks] = self._entry_columns
        return columns

    @functools.cached_property
    def tokens_in(self) -> np.ndarray:
        """Tokens that lie in each block, int32 ``[num_blocks + 1]``; a cached block is full."""
        tokens_in = np.where(self.states == BlockState.CACHED, np.int32(self.block_size), np.int32(0))
        num_left = self.num_tokens[self.entry_tables] - self._entry_columns * self.block_size
        tokens_in[self.table_blocks] = np.clip(num_left, 0, self.block_size)
        return tokens_in

    def count(self, state: BlockState) -> int:
        """Return how many blocks are in ``state``."""
        return int(np.count_nonzero(self.states == state))

    def owners(self, block_id: int) -> tuple[int, ...]:
        """Return the requests whose tables hold a block, in no order; none if it is free or cached."""
        tables = self.entry_tables[self.table_blocks == block_id]
        return tuple(self.request_ids[tables].tolist())

    def table(self, request_id: int) -> np.ndarray:
        """Return the block table of a request, int32; empty if it does not run."""
        table: np.ndarray = self.table_blocks[self.request_ids[self.entry_tables] == request_id]
        return table

    @functools.cached_property
    def _entry_columns(self) -> np.ndarray:
        first_entries = np.cumsum(self.table_lens) - self.table_lens
        columns: np.ndarray = np.arange(len(self.table_blocks)) - first_entries[self.entry_tables]
        return columns
