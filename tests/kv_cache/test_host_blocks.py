"""The free list of host blocks: every block has one owner or none."""

from __future__ import annotations

import random

import numpy as np
import pytest

from pagednb.kv_cache.host_blocks import HostBlockPool


def test_low_blocks_are_handed_out_first_and_again() -> None:
    pool = HostBlockPool(10)
    first, second = pool.allocate(3), pool.allocate(2)
    assert (first.tolist(), second.tolist(), pool.num_used) == ([0, 1, 2], [3, 4], 5)
    pool.release(first)
    assert pool.allocate(4).tolist() == [0, 1, 2, 5]
    assert pool.allocate(0).tolist() == []


def test_random_owners_never_share_a_block() -> None:
    choose, pool, held = random.Random(0), HostBlockPool(40), []
    for _ in range(500):
        count = choose.randint(0, 9)
        if count <= pool.num_free and choose.random() < 0.6:
            held.append(pool.allocate(count))
            assert held[-1].dtype == np.int32 and (np.diff(held[-1]) > 0).all()
        elif held:
            pool.release(held.pop(choose.randrange(len(held))))
        pool.check_integrity(held)
        assert pool.num_used == sum(map(len, held))


def test_wrong_books_are_noticed() -> None:
    pool = HostBlockPool(6)
    held = pool.allocate(4)
    for wrong in ([], [held, held], [held[:3]]):
        with pytest.raises(AssertionError, match="host blocks"):
            pool.check_integrity(wrong)
    with pytest.raises(AssertionError, match="3 host blocks wanted, 2 free"):
        pool.allocate(3)
