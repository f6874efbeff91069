"""The pool against a plain model of it: lists and counters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagednb.kv_cache.block_pool import SCRATCH_BLOCK, BlockPool

MOVES = ("allocate", "acquire", "release", "keep", "forget")


def blocks(*ids: int) -> np.ndarray:
    return np.array(ids, dtype=np.int32)


def test_scratch_is_never_handed_out():
    pool = BlockPool(9)
    block_ids, evicted = pool.allocate(8)
    assert sorted(block_ids.tolist()) == list(range(1, 9)) and not evicted
    assert (pool.num_free, pool.num_used) == (0, 8)
    with pytest.raises(AssertionError, match="1 blocks wanted, 0 free"):
        pool.allocate(1)


def test_blocks_come_in_rising_runs():
    """A shared prefix then lies in one piece, which kernels that read it once like."""
    assert BlockPool(20).allocate(6)[0].tolist() == [1, 2, 3, 4, 5, 6]


def test_a_block_is_free_when_its_last_owner_leaves():
    pool = BlockPool(4)
    pool.allocate(1)
    pool.acquire(blocks(1))
    pool.release(blocks(1))
    assert pool.num_used == 1
    pool.release(blocks(1))
    assert (pool.num_used, pool.num_free, pool.num_cached) == (0, 3, 0)


def test_cached_blocks_go_last_and_least_recently_freed_first():
    pool = BlockPool(6)
    pool.allocate(5)
    pool.keep_content([1, 2, 3])
    pool.release(blocks(3, 2))
    pool.release(blocks(1, 4, 5))
    assert (pool.num_free, pool.num_cached) == (5, 3)
    handed_out, evicted = pool.allocate(4)
    assert sorted(handed_out[:2].tolist()) == [4, 5]
    assert handed_out[2:].tolist() == evicted == [3, 2]
    assert pool.num_cached == 1


def test_a_hit_takes_a_block_out_of_eviction():
    pool = BlockPool(4)
    pool.allocate(3)
    pool.keep_content([1, 2])
    pool.release(blocks(1, 2, 3))
    pool.acquire(blocks(1))
    block_ids, evicted = pool.allocate(2)
    assert (block_ids.tolist(), evicted) == ([3, 2], [2])
    assert pool.num_free == 0


def test_one_release_may_name_a_shared_block_for_each_owner():
    pool = BlockPool(4)
    pool.allocate(2)
    pool.acquire(blocks(1))
    pool.release(blocks(2, 1, 1))
    pool.check_integrity(np.zeros(4, dtype=np.int64), set())
    assert pool.num_free == 3


def test_integrity_notices_a_lost_reference():
    pool = BlockPool(4)
    pool.allocate(2)
    with pytest.raises(AssertionError, match=r"blocks \[2\]: \[0\] owners, counted \[1\]"):
        pool.check_integrity(np.array([0, 1, 0, 0]), set())


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(MOVES), st.integers(0, 10**6))))
def test_random_use_agrees_with_a_model(moves):
    """The model: how many owners each block has, which are kept, and in which order kept ones were freed."""
    pool = BlockPool(12)
    owners = dict.fromkeys(range(1, 12), 0)
    kept: set[int] = set()
    freed: list[int] = []
    for move, number in moves:
        used = [block for block, count in owners.items() if count]
        if move == "allocate" and (count := number % 5) <= pool.num_free:
            block_ids, evicted = pool.allocate(count)
            num_blank = sum(not owners[block] and block not in kept for block in owners)
            assert evicted == freed[: max(count - num_blank, 0)]
            assert len(set(block_ids.tolist())) == count and not any(owners[block] for block in block_ids.tolist())
            kept -= set(evicted)
            freed = freed[len(evicted) :]
            owners.update(dict.fromkeys(block_ids.tolist(), 1))
        elif move == "acquire" and (choice := sorted({*used, *freed})):
            block = choice[number % len(choice)]
            pool.acquire(blocks(block))
            owners[block] += 1
            freed = [each for each in freed if each != block]
        elif move == "release" and used:
            block = used[number % len(used)]
            pool.release(blocks(block))
            owners[block] -= 1
            if not owners[block] and block in kept:
                freed.append(block)
        elif move == "keep" and used:
            pool.keep_content([used[number % len(used)]])
            kept.add(used[number % len(used)])
        elif move == "forget":
            pool.forget_content()
            kept, freed = set(), []
        pool.check_integrity(np.array([0, *owners.values()]), kept)
        assert pool.num_cached == len(freed) and pool.ref_counts[SCRATCH_BLOCK] == 0
