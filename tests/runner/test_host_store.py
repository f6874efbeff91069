"""Blocks in host memory: they come back as they were, wherever they lay, and memory is taken when it is needed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pagednb.config import CacheGeometry
from pagednb.kv_cache.kv_store import KVStore
from pagednb.runner import host_store
from pagednb.runner.host_store import HostKVStore

GEOMETRY = CacheGeometry(num_blocks=50, block_size=4, max_model_len=64)
CPU = torch.device("cpu")


def random_store(dtype: torch.dtype = torch.float32) -> KVStore:
    store = KVStore(3, 2, 8, GEOMETRY, dtype=dtype, device=CPU)
    for index in range(3):
        for cache in store.layer(index):
            cache.normal_(generator=torch.Generator().manual_seed(index))
    return store


def content(store: KVStore) -> torch.Tensor:
    """Everything, ``[num_blocks, num_layers, 2, ...]``."""
    layers = [torch.stack(store.layer(index), dim=1) for index in range(3)]
    return torch.stack(layers, dim=1).clone()


def moves(blocks: list[int] | np.ndarray, host_blocks: list[int] | np.ndarray) -> np.ndarray:
    return np.stack([blocks, host_blocks], axis=1).astype(np.int32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("blocks_at_once", [1, 3, 100])
@pytest.mark.parametrize("blocks_per_chunk", [1, 4, 100])
def test_blocks_come_back_anywhere_as_they_were(
    monkeypatch: pytest.MonkeyPatch, blocks_per_chunk: int, blocks_at_once: int, dtype: torch.dtype
) -> None:
    store = random_store(dtype)
    monkeypatch.setattr(host_store, "CHUNK_BYTES", blocks_per_chunk * store.block_bytes)
    monkeypatch.setattr(host_store, "STAGING_BYTES", blocks_at_once * store.block_bytes)
    host, choose, before = HostKVStore(store, 20, CPU), np.random.default_rng(0), content(store)
    blocks, host_blocks = choose.permutation(np.arange(1, 50))[:20], choose.permutation(20)
    host.swap_out(moves(blocks, host_blocks))
    assert torch.equal(content(store), before), "a copy changed its source"
    targets = choose.permutation(np.arange(1, 50))[:11]
    host.swap_in(moves(targets, host_blocks[:11]))
    expected = before.clone()
    expected[targets] = before[blocks[:11]]
    assert torch.equal(content(store), expected)


def test_memory_is_taken_chunk_by_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    store = random_store()
    monkeypatch.setattr(host_store, "CHUNK_BYTES", 4 * store.block_bytes)
    host = HostKVStore(store, 10, CPU)
    assert host.num_bytes == 0
    host.swap_out(moves([1], [3]))
    assert host.num_bytes == 4 * store.block_bytes
    host.swap_out(moves([1, 2], [0, 9]))
    assert host.num_bytes == 12 * store.block_bytes
    with pytest.raises(AssertionError, match="11 host blocks wanted of 10"):
        host.swap_out(moves([1], [10]))


def test_a_small_store_takes_no_more_than_its_blocks() -> None:
    store = random_store()
    host = HostKVStore(store, 3, CPU)
    assert host.swap_out(moves([1], [0])).seconds > 0
    assert host.num_bytes == 3 * store.block_bytes


def test_places_that_were_written_twice_hold_the_later_blocks() -> None:
    store = random_store()
    host, before = HostKVStore(store, 4, CPU), content(store)
    host.swap_out(moves([1, 2], [0, 1]))
    host.swap_out(moves([3, 4], [1, 2]))
    host.swap_in(moves([11, 12, 13], [0, 1, 2]))
    assert torch.equal(content(store)[[11, 12, 13]], before[[1, 3, 4]])
