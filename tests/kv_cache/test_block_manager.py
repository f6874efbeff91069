"""Block tables: sharing, copy-on-write, growth in bulk, and the order in which prefixes are lost."""

from __future__ import annotations

import numpy as np
import pytest

from pagednb.config import CacheGeometry
from pagednb.kv_cache.block_manager import BlockManager, NewRow

BLOCK_SIZE = 4
NOTHING = np.empty(0, dtype=np.int32)


@pytest.fixture
def manager() -> BlockManager:
    geometry = CacheGeometry(num_blocks=17, block_size=BLOCK_SIZE, max_model_len=400)
    return BlockManager(geometry, max_num_seqs=4, enable_prefix_caching=True)


def tokens(count: int, first: int = 0) -> np.ndarray:
    return np.arange(first, first + count, dtype=np.int32)


def open_row(manager: BlockManager, row: int, num_tokens: int, shared: np.ndarray = NOTHING) -> list[int]:
    """Open a row whose blocks nobody names; return its table."""
    manager.pool.acquire(shared)
    (table,) = manager.open_rows([NewRow(row, shared, num_tokens, ())])
    assert table.tolist() == manager.table(row).tolist()
    return table.tolist()


def open_cached(manager: BlockManager, row: int, token_ids: np.ndarray) -> int:
    """Open a row as a request with these tokens does; return how many blocks the prefix cache gave."""
    digests: list[bytes] = []
    match = manager.find_prefix(digests, token_ids, b"")
    manager.pool.acquire(match.block_ids)
    manager.open_rows([NewRow(row, match.block_ids, len(token_ids), digests, token_ids)])
    manager.check_integrity()
    return len(match.block_ids)


def test_a_row_gets_the_blocks_its_tokens_need(manager):
    open_row(manager, 0, 9)
    assert manager.table(0).tolist() == [1, 2, 3]
    assert len(manager.extend_row(0, 12).rows) == 0
    grown = manager.extend_row(0, 17)
    assert [part.tolist() for part in grown] == [[0, 0], [3, 4], [4, 5]]
    manager.check_integrity()


def test_many_rows_grow_at_once(manager):
    open_row(manager, 2, 4)
    open_row(manager, 0, 8)
    grown = manager.extend_rows(np.array([0, 2], dtype=np.int32))
    assert [part.tolist() for part in grown] == [[0, 2], [2, 1], [4, 5]]
    assert all(part.dtype == np.int32 for part in grown)
    assert manager.num_slots(np.array([0, 1, 2])).tolist() == [12, 0, 8]


def test_tables_outgrow_their_first_columns(manager):
    open_row(manager, 1, 64)
    assert manager.table(1).tolist() == list(range(1, 17))
    geometry = CacheGeometry(num_blocks=200, block_size=BLOCK_SIZE, max_model_len=800)
    large = BlockManager(geometry, max_num_seqs=2, enable_prefix_caching=False)
    open_row(large, 0, 3)
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


def test_a_shared_block_is_not_writable_until_it_is_a_rows_own(manager):
    open_row(manager, 0, 6)
    assert manager.is_writable(0, 5)
    assert open_row(manager, 1, 6, shared=manager.table(0)) == [1, 2]
    assert manager.pool.num_used == 2
    assert not manager.is_writable(0, 5) and not manager.is_writable(1, 5)
    assert manager.is_writable(1, 8), "not there yet"
    manager.check_integrity()
    manager.release_rows(np.array([0]))
    assert manager.is_writable(1, 5)
    manager.release_rows(np.array([1]))
    assert manager.pool.num_used == 0
    manager.check_integrity()


def test_rows_open_together_as_one_after_another(manager):
    """Shared blocks, own ones, names: all as if each row had come alone."""
    open_cached(manager, 0, tokens(9))
    digests: list[bytes] = []
    match = manager.find_prefix(digests, tokens(14), b"")
    manager.pool.acquire(match.block_ids)
    tables = manager.open_rows(
        [NewRow(3, match.block_ids, 14, digests), NewRow(1, NOTHING, 1, ()), NewRow(2, NOTHING, 9, (b"x",))],
    )
    assert [table.tolist() for table in tables] == [[1, 2, 4, 5], [6], [7, 8, 9]]
    assert manager.num_blocks.tolist() == [3, 1, 3, 4]
    assert manager.find_prefix([], tokens(14), b"").block_ids.tolist() == [1, 2, 4]
    manager.check_integrity()
    with pytest.raises(AssertionError, match="holds blocks"):
        manager.open_rows([NewRow(2, NOTHING, 1, ())])


def test_the_end_of_a_prefix_is_evicted_before_its_beginning(manager):
    open_cached(manager, 0, tokens(32))
    manager.release_rows(np.array([0]))
    open_row(manager, 1, 44)  # 11 of 16 blocks: 8 never used, 3 evicted
    assert len(manager.find_prefix([], tokens(33), b"").block_ids) == 5


def test_the_prefix_freed_first_is_evicted_first(manager):
    open_cached(manager, 0, tokens(24))
    open_cached(manager, 1, tokens(24, first=100))
    manager.release_rows(np.array([1]))
    manager.release_rows(np.array([0]))
    open_row(manager, 2, 40)
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
    open_row(manager, 0, 4)
    open_row(manager, 1, 4)
    manager._tables[1, 0] = 1
    with pytest.raises(AssertionError, match=r"blocks \[1 2\]: \[2 0\] owners"):
        manager.check_integrity()
