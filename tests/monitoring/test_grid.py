"""The grid: cells say of each block what the map says, and several blocks in a cell are counted."""

from __future__ import annotations

import random

import numpy as np
import pytest
from support.block_maps import block_map
from support.traffic import Setting, Traffic

from pagednb.kv_cache.block_map import BlockMap, BlockState
from pagednb.monitoring.grid import CACHED, FIRST_OWNERS, FREE, MAX_NAMED, Counts, Grid


def check(grid: Grid, blocks: BlockMap) -> None:
    """Each cell of one block, against the map."""
    assert grid.per_cell == 1 and grid.num_cells == blocks.num_blocks
    for cell, code in enumerate(grid.codes.tolist()):
        block_id = cell + 1
        owners = sorted(blocks.owners(block_id))
        if not owners:
            assert code == (CACHED if blocks.states[block_id] == BlockState.CACHED else FREE)
            continue
        assert grid.owners[code - FIRST_OWNERS] == (len(owners), tuple(owners[:MAX_NAMED]))
        assert (grid.tokens[cell], grid.columns[cell]) == (blocks.tokens_in[block_id], blocks.columns[block_id])


def test_owners_columns_and_tokens() -> None:
    blocks = block_map({7: [3, 1, 5], 9: [3, 2, 4]}, num_blocks=8, cached=[6])
    grid = Grid.of(blocks)
    check(grid, blocks)
    assert grid.counts == Counts(owned=4, shared=1, cached=1, free=2)
    assert grid.columns.tolist() == [1, 1, 0, 2, 2, 0, 0, 0]
    assert grid.tokens.tolist() == [4, 4, 4, 2, 2, 4, 0, 0]
    assert len(grid.mix) == 0


def test_sets_of_owners_that_only_overlap_are_told_apart() -> None:
    blocks = block_map({1: [1, 2, 3], 2: [1, 4], 3: [5, 2], 4: [5, 3]}, num_blocks=6)
    check(Grid.of(blocks), blocks)
    codes = Grid.of(blocks).codes
    assert len({codes[0], codes[1], codes[2], codes[4]}) == 4


@pytest.mark.parametrize("seed", range(3))
def test_cells_are_the_map_under_random_traffic(seed: int) -> None:
    traffic = Traffic(Setting(num_blocks=60, max_num_seqs=16, max_num_batched_tokens=256), seed)
    watcher = traffic.watcher
    step = watcher.step

    def checked_step() -> list:
        updates = step()
        blocks = watcher.core.scheduler.snapshot().blocks
        check(Grid.of(blocks), blocks)
        return updates

    watcher.step = checked_step  # type: ignore[method-assign]
    traffic.run(60)


@pytest.mark.parametrize("num_blocks", [5, 16, 17, 1000])
def test_several_blocks_in_a_cell_are_counted(num_blocks: int) -> None:
    chosen = random.Random(num_blocks)
    ids = list(range(1, num_blocks + 1))
    chosen.shuffle(ids)
    third = num_blocks // 3
    blocks = block_map({1: ids[:third], 2: ids[third // 2 : third]}, num_blocks=num_blocks, cached=ids[-third:])
    grid = Grid.of(blocks, max_cells=16)
    assert grid.num_cells <= 16 and sum(grid.counts) == num_blocks
    if grid.per_cell == 1:
        return
    shown = np.rint(grid.mix.astype(float) * grid.per_cell / 255).sum(axis=0)
    assert shown.tolist() == list(grid.counts[:3])
    for cell, code in enumerate(grid.codes.tolist()):
        first = 1 + cell * grid.per_cell
        states = blocks.states[first : first + grid.per_cell]
        assert (code >= FIRST_OWNERS) == bool((states >= BlockState.OWNED).any())
        if (states == BlockState.OWNED).any():
            assert grid.owners[code - FIRST_OWNERS].number == 1


def test_an_empty_engine_and_a_huge_one() -> None:
    assert Grid.of(block_map({}, num_blocks=3)).codes.tolist() == [FREE] * 3
    many = {request: list(range(1 + 300 * request, 301 + 300 * request)) for request in range(300)}
    grid = Grid.of(block_map(many, num_blocks=100_000))
    assert grid.num_cells <= 4_096 and grid.counts.owned == 90_000
    assert max(grid.codes) - FIRST_OWNERS < len(grid.owners) <= 300
