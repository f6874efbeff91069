"""The cache's tensors: shapes, views of one allocation, block copies."""

from __future__ import annotations

import pytest
import torch

from pagednb.config import CacheGeometry
from pagednb.kv_cache.kv_store import KVStore

GEOMETRY = CacheGeometry(num_blocks=9, block_size=4, max_model_len=16)


def make_store(dtype: torch.dtype = torch.float32) -> KVStore:
    return KVStore(3, 2, 8, GEOMETRY, dtype=dtype, device=torch.device("cpu"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_size_is_what_sizing_assumes(dtype):
    store = make_store(dtype)
    per_block = KVStore.bytes_per_block(num_layers=3, num_kv_heads=2, head_dim=8, block_size=4, dtype=dtype)
    assert store.num_bytes == per_block * GEOMETRY.num_blocks


def test_layers_are_distinct_contiguous_views():
    store = make_store()
    for index in range(3):
        for offset, cache in enumerate(store.layer(index)):
            assert cache.shape == (9, 2, 4, 8)
            assert cache.is_contiguous()
            cache.fill_(10 * index + offset)
    assert [[cache.unique().tolist() for cache in store.layer(index)] for index in range(3)] == [
        [[0.0], [1.0]],
        [[10.0], [11.0]],
        [[20.0], [21.0]],
    ]


@pytest.mark.parametrize("copy_bytes", [1, 3000, 2**20])
def test_copies_reach_every_layer_and_nothing_else(monkeypatch, copy_bytes):
    monkeypatch.setattr("pagednb.kv_cache.kv_store._COPY_BYTES", copy_bytes)
    store = make_store()
    for index in range(3):
        for cache in store.layer(index):
            cache.normal_(generator=torch.Generator().manual_seed(index))
    before = [tuple(cache.clone() for cache in store.layer(index)) for index in range(3)]
    store.copy_blocks(torch.tensor([[1, 5], [2, 8], [1, 3]]))
    source_of = [0, 1, 2, 1, 4, 1, 6, 7, 2]
    for index in range(3):
        for old, new in zip(before[index], store.layer(index), strict=True):
            assert torch.equal(new, old[source_of])


def test_sources_are_read_before_destinations_are_written():
    store = make_store()
    keys, _ = store.layer(0)
    keys[1], keys[2] = 1.0, 2.0
    store.copy_blocks(torch.tensor([[1, 2], [2, 3]]))
    assert (keys[2] == 1.0).all() and (keys[3] == 2.0).all()
