"""Blocks in pinned host memory: they come back as they were, nobody waits for them, and the memory is given back."""

from __future__ import annotations

import gc
import pathlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.core_engine import CoreEngine
from support.device_waits import waiting_is_an_error
from support.tiny_models import VOCAB_SIZE, tiny_model

from pagednb.config import CacheGeometry
from pagednb.kv_cache.kv_store import KVStore
from pagednb.runner import host_store
from pagednb.runner.host_store import HostKVStore
from pagednb.sampling_params import SamplingParams

pytestmark = pytest.mark.gpu

CUDA = torch.device("cuda")
PROMPT_LENGTHS = (1, 40, 2, 15, 90, 16, 17, 3, 65, 7, 33, 5)
SMALL_POOL = {"num_gpu_blocks_override": 40, "block_size": 4}
SWAP = {"swap_space": 0.01, "preemption_mode": "swap"}


def make_store(num_blocks: int = 200, dtype: torch.dtype = torch.bfloat16, **sizes: int) -> KVStore:
    """A store of random bits."""
    sizes = {"num_layers": 4, "num_kv_heads": 2, "head_dim": 64, "block_size": 16, **sizes}
    geometry = CacheGeometry(num_blocks=num_blocks, block_size=sizes.pop("block_size"), max_model_len=64)
    store = KVStore(**sizes, geometry=geometry, dtype=dtype, device=CUDA)
    for index in range(sizes["num_layers"]):
        for cache in store.layer(index):
            cache.normal_()
    return store


def blocks_of(store: KVStore, block_ids: np.ndarray) -> torch.Tensor:
    """The blocks as layers show them, ``[num_layers, 2, num_blocks, ...]``, on the host."""
    ids, layers = torch.from_numpy(block_ids).to(CUDA), range(store._kv.shape[0])
    return torch.stack([torch.stack([cache[ids].cpu() for cache in store.layer(index)]) for index in layers])


def moves(blocks: np.ndarray, host_blocks: np.ndarray) -> np.ndarray:
    return np.stack([blocks, host_blocks], axis=1).astype(np.int32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("blocks_at_once", [3, 1000])
@pytest.mark.parametrize("blocks_per_chunk", [7, 1000])
def test_blocks_come_back_anywhere_as_they_were(
    monkeypatch: pytest.MonkeyPatch, blocks_per_chunk: int, blocks_at_once: int, dtype: torch.dtype
) -> None:
    store, choose = make_store(dtype=dtype), np.random.default_rng(0)
    monkeypatch.setattr(host_store, "CHUNK_BYTES", blocks_per_chunk * store.block_bytes)
    monkeypatch.setattr(host_store, "STAGING_BYTES", blocks_at_once * store.block_bytes)
    host = HostKVStore(store, 100, CUDA)
    for _ in range(5):  # places are used again at once, on both sides
        blocks, host_blocks = choose.permutation(np.arange(1, 200))[:80], choose.permutation(100)[:80]
        expected = blocks_of(store, blocks)
        host.swap_out(moves(blocks, host_blocks))
        store.layer(0)[0][torch.from_numpy(blocks).to(CUDA)] = 7.0  # taken by others, in stream order
        targets = choose.permutation(np.arange(1, 200))[:80]
        span = host.swap_in(moves(targets, host_blocks))
        assert torch.equal(blocks_of(store, targets), expected)
        assert span.seconds > 0


@pytest.mark.parametrize("refuses_to_pin", [False, True])
def test_memory_is_pinned_where_the_system_allows(monkeypatch: pytest.MonkeyPatch, refuses_to_pin: bool) -> None:
    store, blocks = make_store(), np.arange(1, 50)
    if refuses_to_pin:
        register = torch.cuda.cudart().cudaHostRegister
        refusing = SimpleNamespace(cudaHostRegister=lambda *_: register(0, 0, 0))
        monkeypatch.setattr(torch.cuda, "cudart", lambda: refusing)
    host = HostKVStore(store, 60, CUDA)
    expected = blocks_of(store, blocks)
    host.swap_out(moves(blocks, blocks))
    host.swap_in(moves(blocks + 100, blocks))
    assert torch.equal(blocks_of(store, blocks + 100), expected)
    (chunk,) = host._chunks
    assert chunk.is_pinned() != refuses_to_pin


def test_forgetting_the_store_unpins_its_memory() -> None:
    unpinned: list[int] = []
    host = HostKVStore(make_store(), 60, CUDA)
    host.swap_out(moves(np.arange(1, 50), np.arange(49)))
    address, runtime = host._chunks[0].data_ptr(), torch.cuda.cudart()
    unregister = runtime.cudaHostUnregister
    with pytest.MonkeyPatch.context() as patch:
        recording = SimpleNamespace(cudaHostUnregister=lambda at: (unpinned.append(at), unregister(at))[1])
        patch.setattr(torch.cuda, "cudart", lambda: recording)
        del host
        gc.collect()
    assert unpinned == [address]


def test_moves_are_launched_without_waiting_for_the_device() -> None:
    store, blocks = make_store(), np.arange(1, 50)
    host = HostKVStore(store, 100, CUDA)
    host.swap_out(moves(blocks, blocks))  # takes the memory
    host.swap_in(moves(blocks, blocks))
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream), waiting_is_an_error():
        torch.cuda._sleep(1_000_000_000)
        spans = [host.swap_out(moves(blocks, blocks)), host.swap_in(moves(blocks + 100, blocks))]
        assert not stream.query(), "a move waited for the device"
    stream.synchronize()
    assert all(0 < span.seconds < 0.2 for span in spans), "the work before them was counted"
    assert torch.equal(blocks_of(store, blocks + 100), blocks_of(store, blocks))


def test_blocks_beyond_two_to_the_31_words() -> None:
    sizes = {"num_layers": 2, "num_kv_heads": 8, "head_dim": 128, "block_size": 128}
    words = 2 * 2 * 8 * 128 * 128 * 2 // 8  # of a block
    num_blocks = 2**31 // words + 100
    if torch.cuda.mem_get_info()[0] < 2 * 8 * words * num_blocks:
        pytest.skip("too little memory")
    geometry = CacheGeometry(num_blocks=num_blocks, block_size=sizes.pop("block_size"), max_model_len=64)
    store = KVStore(**sizes, geometry=geometry, dtype=torch.bfloat16, device=CUDA)
    blocks = np.array([num_blocks - 1, 1, num_blocks - 50, num_blocks // 2])
    for number, block_id in enumerate(blocks.tolist()):
        for index in range(2):
            for cache in store.layer(index):
                cache[block_id] = number + index
    host, expected = HostKVStore(store, 4, CUDA), blocks_of(store, blocks)
    host.swap_out(moves(blocks, np.arange(4)))
    host.swap_in(moves(blocks[::-1].copy(), np.arange(4)))
    assert torch.equal(blocks_of(store, blocks[::-1].copy()), expected)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tiny_model("qwen3", tmp_path_factory.mktemp("tiny"))


def tokens(folder: pathlib.Path, *, swaps: bool, **options: Any) -> list[list[int]]:
    generator = torch.Generator().manual_seed(11)
    prompts = [torch.randint(3, VOCAB_SIZE, (n,), generator=generator).tolist() for n in PROMPT_LENGTHS]
    kinds = [{}, {"temperature": 0.0}, {"repetition_penalty": 1.3, "logprobs": 2}, {"top_k": 9, "top_p": 0.9}]
    params = [SamplingParams(seed=k, max_tokens=30, ignore_eos=True, **kinds[k % 4]) for k in range(len(prompts))]
    limits = {"max_model_len": 144, "max_num_seqs": 6, "gpu_memory_utilization": 0.5}
    engine = CoreEngine(folder, device="cuda", launch_ahead=1, **limits, **options)
    try:
        found = [engine.tokens(prompts, params) for _ in range(2)]
        assert found[0] == found[1]
        assert (engine.scheduler.stats().num_blocks_swapped_in > 0) == swaps
        assert engine.scheduler.stats().num_used_host_blocks == 0
        return found[0]
    finally:
        engine.runner.shutdown()


@pytest.mark.parametrize(
    "options",
    [{}, {"enforce_eager": True}, {"enable_prefix_caching": False}, {"decode_steps": 4}],
    ids=["graphs", "eager", "no prefix cache", "4 steps at once"],
)
def test_tokens_are_those_of_an_ample_pool(folder: pathlib.Path, options: dict[str, Any]) -> None:
    expected = tokens(folder, swaps=False)
    assert tokens(folder, swaps=True, **SMALL_POOL, **SWAP, **options) == expected
