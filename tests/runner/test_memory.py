"""Sizing of the cache: what fits, whom it respects, and what it says when too little is left."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from pagednb.errors import GPUMemoryError
from pagednb.runner.memory import (
    DeviceMemory,
    MemoryNeeds,
    blocks_that_fit,
    check_override_fits,
    container_bytes_left,
)

GIB = 2**30
CUDA = torch.device("cuda", 0)
NEEDS = MemoryNeeds(
    block_size=16,
    bytes_per_block=2 * 2**20,
    max_model_len=8192,
    activation_bytes=1 * GIB,
    useful_blocks=512 * 512,
)


def gpu(free_gib: float, own_gib: float = 0.0) -> DeviceMemory:
    return DeviceMemory(
        device=CUDA, total_bytes=100 * GIB, free_bytes=int(free_gib * GIB), own_bytes=int(own_gib * GIB)
    )


def test_the_cache_gets_what_utilization_leaves():
    blocks = blocks_that_fit(NEEDS, gpu(free_gib=100), utilization=0.9, bytes_to_load=15 * GIB)
    left = (90 - 15 - 1) * GIB
    assert left - GIB < (blocks + 1) * NEEDS.bytes_per_block <= left


def test_others_are_respected():
    alone = blocks_that_fit(NEEDS, gpu(free_gib=100), utilization=0.9)
    beside = blocks_that_fit(NEEDS, gpu(free_gib=70), utilization=0.9)
    assert (alone - beside) * NEEDS.bytes_per_block == 30 * GIB


def test_loaded_weights_count_like_weights_still_to_load():
    to_load = blocks_that_fit(NEEDS, gpu(free_gib=100), utilization=0.8, bytes_to_load=15 * GIB)
    loaded = blocks_that_fit(NEEDS, gpu(free_gib=85, own_gib=15), utilization=0.8)
    assert to_load == loaded


def test_no_more_blocks_than_rows_can_use():
    needs = dataclasses.replace(NEEDS, useful_blocks=1000)
    assert blocks_that_fit(needs, gpu(free_gib=100), utilization=0.9) == 1000


def test_too_little_names_need_free_holders_and_remedies():
    with pytest.raises(GPUMemoryError) as caught:
        blocks_that_fit(NEEDS, gpu(free_gib=20, own_gib=3), utilization=0.82)
    text = str(caught.value)
    assert "max_model_len=8192" in text and "needs 1.00 GiB" in text
    assert "20.00 GiB of 100.00 GiB are free" in text
    assert "this process's tensors hold 3.00 GiB, other processes and contexts 77.00 GiB" in text
    for remedy in ("max_model_len", "gpu_memory_utilization", "max_num_batched_tokens", "free what others hold"):
        assert remedy in caught.value.hint


def test_the_largest_length_that_is_named_fits():
    memory = gpu(free_gib=20)
    with pytest.raises(GPUMemoryError) as caught:
        blocks_that_fit(NEEDS, memory, utilization=0.82)
    longest = int(caught.value.hint.split("at most ")[1].split(",")[0])
    fitting = dataclasses.replace(NEEDS, max_model_len=longest)
    assert blocks_that_fit(fitting, memory, utilization=0.82) == longest // 16
    with pytest.raises(GPUMemoryError):
        blocks_that_fit(dataclasses.replace(NEEDS, max_model_len=longest + 1), memory, utilization=0.82)


def test_an_override_beyond_free_memory_is_refused():
    check_override_fits(NEEDS, gpu(free_gib=10), num_blocks=4000)
    with pytest.raises(GPUMemoryError, match=r"cache of 5000 blocks .*Lower num_gpu_blocks_override"):
        check_override_fits(NEEDS, gpu(free_gib=10), num_blocks=5000)


def test_the_cpu_cache_is_modest():
    memory = DeviceMemory(device=torch.device("cpu"), total_bytes=64 * GIB, free_bytes=64 * GIB)
    assert (blocks_that_fit(NEEDS, memory, utilization=0.9) + 1) * NEEDS.bytes_per_block == 4 * GIB
    little = dataclasses.replace(memory, free_bytes=8 * GIB)
    assert (blocks_that_fit(NEEDS, little, utilization=0.9) + 1) * NEEDS.bytes_per_block == 2 * GIB


def test_copies_of_files_do_not_fill_a_container(tmp_path):
    assert container_bytes_left(tmp_path) is None
    (tmp_path / "memory.current").write_text(f"{20 * GIB}\n")
    (tmp_path / "memory.stat").write_text(f"anon {4 * GIB}\ninactive_file {10 * GIB}\nactive_file {6 * GIB}\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert container_bytes_left(tmp_path) is None
    (tmp_path / "memory.max").write_text(f"{32 * GIB}\n")
    assert container_bytes_left(tmp_path) == 28 * GIB


def test_host_memory_can_be_measured():
    memory = DeviceMemory.measure(torch.device("cpu"))
    assert 0 < memory.free_bytes <= memory.total_bytes
