"""Building a runner: limits by device, the cache's size, and errors before and after loading."""

from __future__ import annotations

import gc

import pytest
import torch
from support.tiny_models import tiny_model

from pagednb.config import EngineConfig
from pagednb.errors import GPUMemoryError, OptionError
from pagednb.models.load import num_weight_bytes
from pagednb.models.resolve import ResolvedModel, resolve_model
from pagednb.runner import factory
from pagednb.runner.factory import build_runner, choose_limits
from pagednb.runner.isolation import DeviceScope
from pagednb.runner.model_runner import ModelRunner


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_model("llama3.1", tmp_path_factory.mktemp("tiny"))


def resolved_for(folder, **options) -> tuple[EngineConfig, ResolvedModel]:
    config = EngineConfig(model=folder, device="cpu", dtype="float32", **options)
    return config, resolve_model(config)


def test_defaults_by_device(folder):
    limits = choose_limits(*resolved_for(folder))
    assert (limits.max_num_seqs, limits.max_num_batched_tokens) == (64, 512)
    assert limits.max_model_len == 1024 and limits.eos_token_ids == (2,)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_num_batched_tokens": 7}, (7, 7)),
        ({"max_num_seqs": 3}, (3, 512)),
        ({"max_num_seqs": 900}, (900, 900)),
        ({"max_num_seqs": 5, "max_num_batched_tokens": 80}, (5, 80)),
    ],
)
def test_defaults_agree_with_what_was_given(folder, options, expected):
    limits = choose_limits(*resolved_for(folder, **options))
    assert (limits.max_num_seqs, limits.max_num_batched_tokens) == expected


def test_contradicting_limits_are_refused(folder):
    with pytest.raises(OptionError, match="max_num_batched_tokens=7 is less than max_num_seqs=8"):
        choose_limits(*resolved_for(folder, max_num_seqs=8, max_num_batched_tokens=7))


def test_an_override_counts_usable_blocks(folder):
    runner = build_runner(*resolved_for(folder, num_gpu_blocks_override=11, block_size=8))
    assert runner.geometry.num_blocks == 12 and runner.geometry.block_size == 8
    assert runner.memory.num_blocks == 11
    assert runner.memory.kv_cache_bytes == 12 * (3 * 2 * 2 * 8 * 16 * 4)  # layers, K and V, heads, slots, dim, fp32
    runner.shutdown()


def test_the_default_cache_serves_all_rows_at_full_length_and_no_more(folder):
    runner = build_runner(*resolved_for(folder, max_num_seqs=4, max_model_len=100))
    assert runner.memory.num_blocks == 4 * 7
    assert 0 < runner.memory.weight_bytes < 2**22
    runner.shutdown()


def test_progress_reaches_the_end(folder):
    seen: list[tuple[int, int]] = []
    runner = build_runner(
        *resolved_for(folder, max_num_seqs=2), progress=lambda done, total: seen.append((done, total))
    )
    assert seen and seen[-1][0] == seen[-1][1] > 0
    runner.shutdown()


def test_too_little_memory_is_said_before_loading(folder, monkeypatch):
    monkeypatch.setattr(factory, "loading_model", lambda *_, **__: pytest.fail("weights were loaded"))
    monkeypatch.setattr("pagednb.runner.memory.MAX_CPU_CACHE_BYTES", 2**16)
    with pytest.raises(GPUMemoryError, match="max_model_len=1024"):
        build_runner(*resolved_for(folder))


def test_running_out_of_memory_while_loading_becomes_our_error(folder, monkeypatch):
    def load(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nMore words.")

    monkeypatch.setattr(factory, "loading_model", load)
    with pytest.raises(GPUMemoryError, match=r"Tried to allocate 20\.00 GiB") as caught:
        build_runner(*resolved_for(folder))
    assert caught.value.__context__ is None, "the first error's frames would keep its memory"


def num_elements() -> int:
    gc.collect()
    return sum(each.numel() for each in gc.get_objects() if type(each) in (torch.Tensor, torch.nn.Parameter))


@pytest.mark.parametrize("fails_late", [False, True])
def test_a_load_that_fails_or_is_given_up_holds_nothing_when_memory_is_given_back(folder, monkeypatch, fails_late):
    def give_up(num_done: int, num_total: int) -> None:
        if not fails_late:
            raise TimeoutError

    def fail(runner: ModelRunner) -> None:
        raise TimeoutError

    held = []
    monkeypatch.setattr(DeviceScope, "release_memory", lambda scope: held.append(num_elements()))
    monkeypatch.setattr(ModelRunner, "warm_up", fail if fails_late else lambda runner: None)
    config, resolved = resolved_for(folder)
    before = num_elements()
    with pytest.raises(TimeoutError) as caught:
        build_runner(config, resolved, progress=give_up, warms_up=True)
    assert held[-1] == before, caught


def test_shutdown_frees_every_tensor(folder):
    before = num_elements()
    runner = build_runner(*resolved_for(folder))
    assert num_elements() > before
    runner.shutdown()
    assert num_elements() == before


def test_the_weights_take_what_was_foretold(folder):
    config, resolved = resolved_for(folder, max_num_seqs=2)
    runner = build_runner(config, resolved)
    assert runner.memory.weight_bytes == num_weight_bytes(resolved)
    runner.shutdown()
