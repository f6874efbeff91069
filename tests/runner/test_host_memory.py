"""Host memory is refused together, before anything is loaded, and no more than the engine really needs."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import pytest
import torch
from support.tiny_models import tiny_model

from pagednb.config import EngineConfig
from pagednb.errors import GPUMemoryError
from pagednb.models.kept_weights import KeptWeights
from pagednb.models.resolve import resolve_model
from pagednb.runner import factory
from pagednb.runner.factory import build_runner
from pagednb.runner.host_memory import check_host_memory

FREE_BYTES = 2**20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tiny_model("llama3.1", tmp_path_factory.mktemp("model"), num_hidden_layers=5)


@pytest.fixture(autouse=True)
def little_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pagednb.runner.memory._available_host_bytes", lambda: FREE_BYTES)


def check(folder: pathlib.Path, *, swap_bytes: int = 0, kept: KeptWeights | None = None, **options: Any) -> None:
    """As a load or, with ``kept``, waking up does on a GPU."""
    config = EngineConfig(model=folder, device="cpu", swap_space=swap_bytes / 2**30, **options)
    on_gpu = dataclasses.replace(resolve_model(config), device="cuda:0")
    factory._check_host_memory(config, on_gpu, swap_bytes=swap_bytes, kept=kept)


def test_what_fits_is_not_refused() -> None:
    check_host_memory({"swap_space=1": FREE_BYTES, "cpu_offload_gb=0": 0})


def test_one_wish_is_named(folder: pathlib.Path) -> None:
    with pytest.raises(GPUMemoryError, match=r"^swap_space=0\.00097656\d takes 0\.00 GiB of host memory"):
        check(folder, swap_bytes=FREE_BYTES + 1)


def test_wishes_are_added_up(folder: pathlib.Path) -> None:
    offload = {"cpu_offload_gb": 1e-5}
    check(folder, **offload)
    check(folder, swap_bytes=FREE_BYTES)
    with pytest.raises(GPUMemoryError, match=r"^cpu_offload_gb=1e-05 and swap_space=0\.00097656\d take .* Give less"):
        check(folder, **offload, swap_bytes=FREE_BYTES)


def test_waking_up_counts_on_the_memory_of_weights_that_were_kept(folder: pathlib.Path) -> None:
    weights = {"w": torch.zeros(FREE_BYTES, dtype=torch.uint8)}
    copied, lying_there = KeptWeights(weights, num_copied_bytes=FREE_BYTES), KeptWeights(weights)
    check(folder, swap_bytes=2 * FREE_BYTES, kept=copied, cpu_offload_gb=1e-5)
    with pytest.raises(GPUMemoryError):
        check(folder, swap_bytes=2 * FREE_BYTES, kept=lying_there)


def test_nothing_is_loaded_before(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factory, "loading_model", lambda *_, **__: pytest.fail("weights were loaded"))
    config = EngineConfig(model=folder, device="cpu", swap_space=1, max_model_len=64)
    with pytest.raises(GPUMemoryError, match=r"swap_space=1 takes 1\.00 GiB"):
        build_runner(config, resolve_model(config))
