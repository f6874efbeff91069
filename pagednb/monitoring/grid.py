"""The KV blocks as a grid of cells: one block a cell, or several neighbours where there are more than can be drawn.

Made of a ``BlockMap`` for pictures and for the monitor; its size is bounded, whatever the engine's. Knows no colours.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from pagednb.kv_cache.block_map import BlockMap, BlockState

FREE, CACHED, FIRST_OWNERS = 0, 1, 2
"""Codes of cells; from ``FIRST_OWNERS`` on they are places in ``Grid.owners``."""

MAX_CELLS = 4_096
MAX_NAMED = 12


class Owners(NamedTuple):
    """The requests that a block belongs to: how many, and the first ``MAX_NAMED`` of them by number."""

    number: int
    request_ids: tuple[int, ...]


class Counts(NamedTuple):
    """How many blocks are in each state."""

    owned: int
    shared: int
    cached: int
    free: int

    @classmethod
    def of(cls, blocks: BlockMap) -> Counts:
        """Count the blocks of a map, the scratch block aside."""
        by_state = np.bincount(blocks.states, minlength=len(BlockState)).tolist()
        return cls(*(by_state[s] for s in (BlockState.OWNED, BlockState.SHARED, BlockState.CACHED, BlockState.FREE)))


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Grid:
    """``num_cells`` cells of ``per_cell`` blocks each; the last one may hold fewer. Cell 0 begins with block 1.

    Attributes:
        codes: uint16 ``[num_cells]``: ``FREE``, ``CACHED``, or who owns the cell's block. Of several blocks it is one
            that has an owner, if any has.
        owners: whom codes from ``FIRST_OWNERS`` on mean.
        tokens: uint8 ``[num_cells]``, tokens in the cell's block; empty where cells hold several.
        columns: uint16 ``[num_cells]``, the block's place in the table of its owners; empty as ``tokens``.
        mix: uint8 ``[num_cells, 3]``, the owned, shared and cached blocks of the cell in 255ths; empty where a cell
            holds one block.
    """

    num_blocks: int
    block_size: int
    per_cell: int
    counts: Counts
    codes: np.ndarray
    owners: tuple[Owners, ...]
    tokens: np.ndarray
    columns: np.ndarray
    mix: np.ndarray

    @classmethod
    def of(cls, blocks: BlockMap, *, max_cells: int = MAX_CELLS) -> Grid:
        """Lay the blocks of a map out in ``max_cells`` cells at most."""
        per_cell = -(-blocks.num_blocks // max_cells)
        shown = _shown_blocks(blocks, per_cell)
        codes, owners = _codes(blocks, shown)
        no_cells = np.empty(0, dtype=np.uint8)
        is_single = per_cell == 1
        return cls(
            num_blocks=blocks.num_blocks,
            block_size=blocks.block_size,
            per_cell=per_cell,
            counts=Counts.of(blocks),
            codes=codes,
            owners=owners,
            tokens=blocks.tokens_in[shown].astype(np.uint8) if is_single else no_cells,
            columns=np.maximum(blocks.columns[shown], 0).astype(np.uint16) if is_single else no_cells,
            mix=no_cells if is_single else _mix(blocks, per_cell),
        )

    @property
    def num_cells(self) -> int:
        """How many cells there are."""
        return len(self.codes)


def _shown_blocks(blocks: BlockMap, per_cell: int) -> np.ndarray:
    """Return the block that stands for each cell: the first one with a single owner, or else with several, or cached.

    int64 ``[num_cells]``.
    """
    if per_cell == 1:
        return np.arange(1, blocks.num_blocks + 1)
    # what is drawn first if there is a choice
    rank_of_state = np.zeros(len(BlockState), dtype=np.uint8)
    rank_of_state[[BlockState.OWNED, BlockState.SHARED, BlockState.CACHED]] = (3, 2, 1)
    ranks = _by_cell(rank_of_state[blocks.states[1:]], per_cell)
    shown: np.ndarray = 1 + np.arange(len(ranks)) * per_cell + ranks.argmax(axis=1)
    return shown


def _mix(blocks: BlockMap, per_cell: int) -> np.ndarray:
    states = _by_cell(blocks.states[1:], per_cell)  # what pads the last cell is scratch, which is counted nowhere
    shares = [(states == state).sum(axis=1) for state in (BlockState.OWNED, BlockState.SHARED, BlockState.CACHED)]
    mix: np.ndarray = np.stack(shares, axis=1) * 255 // per_cell
    return mix.astype(np.uint8)


def _by_cell(values: np.ndarray, per_cell: int) -> np.ndarray:
    padded = np.zeros(-(-len(values) // per_cell) * per_cell, dtype=values.dtype)
    padded[: len(values)] = values
    return padded.reshape(-1, per_cell)


def _codes(blocks: BlockMap, shown: np.ndarray) -> tuple[np.ndarray, tuple[Owners, ...]]:
    """Return the code of each of the blocks ``shown``, uint16, and what the codes mean."""
    states = blocks.states[shown]
    codes = np.where(states == BlockState.CACHED, np.uint16(CACHED), np.uint16(FREE))
    has_owner = states >= BlockState.OWNED
    sets = _owner_sets(blocks)[shown[has_owner]]
    _, firsts, places = np.unique(sets, return_index=True, return_inverse=True)
    codes[has_owner] = FIRST_OWNERS + places
    return codes, _owners_of(blocks, shown[has_owner][firsts])


def _owner_sets(blocks: BlockMap) -> np.ndarray:
    """Return a number for each block, uint64 ``[num_blocks + 1]``: equal where the owners are the same requests.

    The sum of one random 64-bit number for each owner: two sets that meet by chance are not to be expected, and would
    only be drawn alike.
    """
    numbers = blocks.request_ids.astype(np.uint64) + np.uint64(1)
    for multiplier in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB):  # splitmix64's
        numbers = (numbers ^ (numbers >> np.uint64(29))) * np.uint64(multiplier)
    sets = np.zeros(blocks.num_blocks + 1, dtype=np.uint64)
    np.add.at(sets, blocks.table_blocks, (numbers ^ (numbers >> np.uint64(31)))[blocks.entry_tables])
    return sets


def _owners_of(blocks: BlockMap, block_ids: np.ndarray) -> tuple[Owners, ...]:
    """Return the owners of each of ``block_ids``, all different, in this order."""
    is_wanted = np.zeros(blocks.num_blocks + 1, dtype=np.bool_)
    is_wanted[block_ids] = True
    entries = np.flatnonzero(is_wanted[blocks.table_blocks])
    owner_ids = blocks.request_ids[blocks.entry_tables[entries]]
    held = blocks.table_blocks[entries]
    order = np.lexsort((owner_ids, held))
    owner_ids, held = owner_ids[order], held[order]
    starts, ends = np.searchsorted(held, block_ids), np.searchsorted(held, block_ids, side="right")
    return tuple(
        Owners(end - start, tuple(owner_ids[start : min(end, start + MAX_NAMED)].tolist()))
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    )
