"""Block tables: sharing, copy-on-write, growth in bulk, and the order in which prefixes are lost."""

from __future__ import annotations

import numpy as np
import pytest

from pagednb.config import CacheGeometry
from pagednb.kv_cache.block_manager import BlockManager

BLOCK_SIZE = 4
NOTHING = np.empty(0, dtype=np.int32)


@pytest.fixture
def manager() -> BlockManager:
    geometry = CacheGeometry(num_blocks=17, block_size=BLOCK_SIZE, max_model_len=400)
    return BlockManager(geometry, max_num_seqs=4, enable_prefix_caching=True)


def tokens(count: int, first: int = 0) -> np.ndarray:
    return np.arange(first, first + count, dtype=np.int32)


def open_cached(manager: BlockManager, row: int, token_ids: np.ndarray) -> int:
    """Open a row as a request with these tokens does; return how many blocks the prefix cache gave."""
    digests: list[bytes] = []
    match = manager.find_prefix(digests, token_ids, b"")
    manager.open_row(row, match.block_ids, len(token_ids))
    manager.register_prefix(row, digests, range(len(match.block_ids), len(token_ids) // BLOCK_SIZE))
    manager.check_integrity()
    return len(match.block_ids)


def test_a_row_gets_the_blocks_its_tokens_need(manager):
    manager.open_row(0, NOTHING, 9)
    assert manager.table(0).tolist() == [1, 2, 3]
    assert len(manager.extend_row(0, 12).rows) == 0
    grown = manager.extend_row(0, 17)
    assert [part.tolist() for part in grown] == [[0, 0], [3, 4], [4, 5]]
    manager.check_integrity()


def test_many_rows_grow_at_once(manager):
    manager.open_row(2, NOTHING, 4)
    manager.open_row(0, NOTHING, 8)
    grown = manager.extend_rows(np.array([0, 2], dtype=np.int32))
    assert [part.tolist() for part in grown] == [[0, 2], [2, 1], [4, 5]]
    assert all(part.dtype == np.int32 for part in grown)
    assert manager.num_slots(np.array([0, 1, 2])).tolist() == [12, 0, 8]


def test_tables_outgrow_their_first_columns(manager):
    manager.open_row(1, NOTHING, 64)
    assert manager.table(1).tolist() == list(range(1, 17))
    geometry = CacheGeometry(num_blocks=200, block_size=BLOCK_SIZE, max_model_len=800)
    large = BlockManager(geometry, max_num_seqs=2, enable_prefix_caching=False)
    large.open_row(0, NOTHING, 3)
    large.extend_row(0, 700)
    assert large.table(0).tolist() == list(range(1, 176))


def test_one_token_at_least_is_left_to_compute(manager):
    open_cached(manager, 0, tokens(12))
    assert open_cached(manager, 1, tokens(12)) == 2
    assert open_cached(manager, 2, tokens(13)) == 3


def test_blocks_of_another_salt_are_not_found(manager):
    open_cached(manager, 0, tokens(12))
    assert len(manager.find_prefix([], tokens(13), b"other").block_ids) == 0


def test_a_match_says_how_many_blocks_have_an_owner(manager):
    open_cached(manager, 0, tokens(12))
    assert manager.find_prefix([], tokens(13), b"").num_used == 3
    manager.release_rows(np.array([0]))
    match = manager.find_prefix([], tokens(13), b"")
    assert (len(match.block_ids), match.num_used) == (3, 0)


def test_writing_a_shared_block_copies_it_once(manager):
    manager.open_row(0, NOTHING, 6)
    manager.open_row(1, manager.table(0), 6)
    assert manager.pool.num_used == 2
    assert not manager.is_writable(0, 5) and not manager.is_writable(1, 5)
    assert manager.make_writable(1, 5) == (2, 3)
    assert (manager.table(0).tolist(), manager.table(1).tolist()) == ([1, 2], [1, 3])
    assert manager.make_writable(1, 5) is None and manager.make_writable(0, 5) is None
    manager.check_integrity()
    manager.release_rows(np.array([0, 1]))
    assert manager.pool.num_used == 0
    manager.check_integrity()


def test_the_end_of_a_prefix_is_evicted_before_its_beginning(manager):
    open_cached(manager, 0, tokens(32))
    manager.release_rows(np.array([0]))
    manager.open_row(1, NOTHING, 44)  # 11 of 16 blocks: 8 never used, 3 evicted
    assert len(manager.find_prefix([], tokens(33), b"").block_ids) == 5


def test_the_prefix_freed_first_is_evicted_first(manager):
    open_cached(manager, 0, tokens(24))
    open_cached(manager, 1, tokens(24, first=100))
    manager.release_rows(np.array([1]))
    manager.release_rows(np.array([0]))
    manager.open_row(2, NOTHING, 40)
    assert len(manager.find_prefix([], tokens(25), b"").block_ids) == 6
    assert len(manager.find_prefix([], tokens(25, first=100), b"").block_ids) == 0


def test_reset_forgets_prefixes_and_keeps_rows(manager):
    open_cached(manager, 0, tokens(12))
    open_cached(manager, 1, tokens(12, first=50))
    manager.release_rows(np.array([1]))
    manager.reset_prefix_cache()
    manager.check_integrity()
    assert manager.pool.num_cached == 0 and manager.table(0).tolist() == [1, 2, 3]
    assert open_cached(manager, 2, tokens(13)) == 0


def test_integrity_notices_a_block_in_two_tables(manager):
    manager.open_row(0, NOTHING, 4)
    manager.open_row(1, NOTHING, 4)
    manager._tables[1, 0] = 1
    with pytest.raises(AssertionError, match=r"blocks \[1 2\]: \[2 0\] owners"):
        manager.check_integrity()
