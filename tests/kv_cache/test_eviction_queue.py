"""The queue against a plain list."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagednb.kv_cache.eviction_queue import EvictionQueue

NUM_BLOCKS = 7


def blocks(*ids: int) -> np.ndarray:
    return np.array(ids, dtype=np.int32)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(["push", "remove", "pop", "clear"]), st.permutations(range(NUM_BLOCKS)))))
def test_random_use_agrees_with_a_list(moves):
    """So small that its memory is used up again and again."""
    queue, expected = EvictionQueue(NUM_BLOCKS), []
    for move, order in moves:
        count = order[0]
        if move == "push":
            new = [block for block in order[:count] if block not in expected]
            queue.push(blocks(*new))
            expected += new
        elif move == "remove":
            gone = [block for block in order[:count] if block in expected]
            queue.remove(blocks(*gone))
            expected = [block for block in expected if block not in gone]
        elif move == "pop":
            count = min(count, len(expected))
            assert queue.pop(count).tolist() == expected[:count]
            expected = expected[count:]
        elif count == 0:
            queue.clear()
            expected = []
        assert (queue.block_ids.tolist(), queue.length) == (expected, len(expected))


@pytest.mark.parametrize("num_before", [0, 6])
def test_a_block_listed_twice_is_in_it_once(num_before):
    queue = EvictionQueue(9)
    for _ in range(2):
        queue.push(np.arange(num_before, dtype=np.int32))
        queue.remove(np.arange(num_before, dtype=np.int32))
    queue.push(blocks(7, 8, 7, 8, 8, 6, 7))
    assert (queue.block_ids.tolist(), queue.length) == ([8, 6, 7], 3)


def test_more_listings_than_the_memory_has_places():
    queue = EvictionQueue(9)
    queue.push(blocks(4))
    queue.push(np.repeat(blocks(3, 2, 8), 50))
    assert queue.block_ids.tolist() == [4, 3, 2, 8]


def test_what_is_not_there_cannot_be_taken():
    queue = EvictionQueue(4)
    queue.push(blocks(1, 2))
    with pytest.raises(AssertionError, match="3 blocks wanted, 2 queued"):
        queue.pop(3)
    with pytest.raises(AssertionError, match="not all of"):
        queue.remove(blocks(1, 3))
