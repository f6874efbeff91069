"""A runner whose layers partly live in host memory: the same tokens in all traffic, and honest books of memory."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.core_engine import CoreEngine
from support.late_copies import LateCopies
from support.tiny_models import VOCAB_SIZE, tiny_model

from pagednb.config import EngineConfig
from pagednb.engine.build import ModelEngineBuilder
from pagednb.errors import OptionError
from pagednb.models import offloaded_layers
from pagednb.models.load import num_weight_bytes
from pagednb.models.offload_plan import OffloadPlan, plan_offload
from pagednb.models.resolve import resolve_model
from pagednb.runner import factory
from pagednb.runner.factory import build_runner
from pagednb.sampling_params import SamplingParams

NUM_LAYERS = 5
LIMITS = {"max_model_len": 96}
SMALL_POOL = {"num_gpu_blocks_override": 26, "block_size": 4}
DISTURBANCES: dict[str, dict[str, Any]] = {
    "chunks of 7": {"max_num_batched_tokens": 7},
    "8 steps at once, launch-ahead": {"decode_steps": 8, "launch_ahead": 1},
    "preemption": {**SMALL_POOL, "max_num_batched_tokens": 64},
}
KINDS = (
    SamplingParams(temperature=0.0, ignore_eos=True),
    SamplingParams(temperature=1.0, top_k=9),
    SamplingParams(temperature=0.8, repetition_penalty=1.2, logprobs=2, prompt_logprobs=1),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    return tiny_model("qwen3", tmp_path_factory.mktemp("tiny"), num_hidden_layers=NUM_LAYERS)


def plan_of(folder: pathlib.Path, cpu_offload_gb: float) -> OffloadPlan:
    return plan_offload(resolve_model(EngineConfig(model=folder, device="cpu")), cpu_offload_gb)


def gib_of(folder: pathlib.Path, num_freed: int) -> float:
    """What ``num_freed`` layers free, nearly."""
    return (num_freed - 0.5) * plan_of(folder, 0).layout.weight_bytes / 2**30


def tokens(folder: pathlib.Path, **options: Any) -> list[list[int]]:
    generator = torch.Generator().manual_seed(5)
    prompts = [torch.randint(3, VOCAB_SIZE, (length,), generator=generator).tolist() for length in (1, 33, 50, 17)]
    params = [dataclasses.replace(KINDS[i % 3], max_tokens=12, seed=i) for i in range(len(prompts))]
    engine = CoreEngine(folder, **{**LIMITS, **options})
    made = engine.tokens(prompts, params)
    engine.runner.shutdown()
    return made


@pytest.mark.parametrize("architecture", ["gpt2", "opt-350m", "llama3.1"])
def test_tokens_are_the_same(architecture, tmp_path):
    folder = tiny_model(architecture, tmp_path, num_hidden_layers=NUM_LAYERS)
    assert tokens(folder, cpu_offload_gb=gib_of(folder, 2)) == tokens(folder)


@pytest.mark.parametrize("disturbance", DISTURBANCES)
def test_tokens_are_the_same_in_all_traffic_however_late_copies_are(folder, monkeypatch, disturbance):
    options = DISTURBANCES[disturbance]
    expected = tokens(folder, **options)
    late: Callable[..., Any] = lambda memory, device: LateCopies()  # noqa: E731
    monkeypatch.setattr(offloaded_layers, "copies_for", late)
    for num_freed in (1, 3):
        assert tokens(folder, cpu_offload_gb=gib_of(folder, num_freed), **options) == expected


def test_a_cpu_counts_its_weights_once(folder):
    builder = ModelEngineBuilder(EngineConfig(model=folder, device="cpu", cpu_offload_gb=gib_of(folder, 1)))
    memory = builder.build(builder.resolve(), lambda num_done, num_total: None).memory
    assert memory is not None and memory.weight_bytes > 0 and memory.offloaded_bytes == 0


def test_books_tell_device_and_host_apart(folder, monkeypatch):
    config = EngineConfig(model=folder, device="cpu", max_num_seqs=2, cpu_offload_gb=gib_of(folder, 1))
    resolved, plan = resolve_model(config), plan_of(folder, gib_of(folder, 1))
    runner = build_runner(config, resolved)
    assert runner.memory.offloaded_bytes == 3 * plan.layout.weight_bytes
    buffers = 2 * plan.layout.num_bytes
    padding = 3 * (plan.layout.num_bytes - plan.layout.weight_bytes)
    # on a CPU all of it lies in the same memory
    assert runner.memory.weight_bytes == num_weight_bytes(resolved) + buffers + padding
    runner.shutdown()
    on_gpu = dataclasses.replace(resolved, device="cuda:0")
    taken = factory._weight_bytes(config, on_gpu)
    assert taken == num_weight_bytes(resolved) - 3 * plan.layout.weight_bytes + buffers
    assert num_weight_bytes(resolved) - taken >= config.cpu_offload_gb * 2**30
    whole = factory._weight_bytes(dataclasses.replace(config, cpu_offload_gb=0), on_gpu)
    assert whole == num_weight_bytes(resolved)


def test_more_than_the_layers_hold_is_refused_before_anything_is_loaded(folder, monkeypatch):
    monkeypatch.setattr(factory, "loading_model", lambda *_, **__: pytest.fail("weights were loaded"))
    config = EngineConfig(model=folder, device="cpu", cpu_offload_gb=8)
    with pytest.raises(OptionError, match=r"cpu_offload_gb=8 is more than .* Give at most"):
        build_runner(config, resolve_model(config))
