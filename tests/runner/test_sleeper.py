"""A runner that gives its memory back and takes it again; and failures, which leave it as it was and keep nothing."""

from __future__ import annotations

import gc
import os
import pathlib
import weakref
from collections.abc import Iterator

import pytest
import torch
from support.tiny_models import tiny_model

from pagednb.config import EngineConfig
from pagednb.engine.build import EngineParts, ModelEngineBuilder
from pagednb.engine.core import EngineCore
from pagednb.errors import GPUMemoryError, ModelLoadError, OptionError, WeightError
from pagednb.models import kept_weights
from pagednb.models.kept_weights import KeptWeights
from pagednb.runner import factory
from pagednb.runner.memory import DeviceMemory
from pagednb.runner.model_runner import ModelRunner
from pagednb.runner.sleeper import Sleeper
from pagednb.sleep_state import SleepLevel, SleepState


def tensor_bytes() -> int:
    """Memory of all tensors that anybody knows."""
    gc.collect()
    seen = {}
    for each in gc.get_objects():
        if type(each) in (torch.Tensor, torch.nn.Parameter) and each.device.type == "cpu":
            storage = each.untyped_storage()
            seen[storage.data_ptr()] = storage.nbytes()
    return sum(seen.values())


def no_progress(num_done: int, num_total: int) -> None:
    """Show nothing."""


@pytest.fixture(scope="module", autouse=True)
def others_rest() -> Iterator[None]:
    """Let the collector look at this room's objects only: those of a whole suite take seconds each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


class Bed:
    """An engine core on the CPU, without a thread, and the memory that it may hold awake and asleep."""

    def __init__(self, folder: pathlib.Path, **options: object) -> None:
        self.nothing_bytes = tensor_bytes()
        builder = ModelEngineBuilder(EngineConfig(model=folder, device="cpu", max_model_len=64, **options))
        parts: EngineParts = builder.build(builder.resolve(), no_progress)
        self.core: EngineCore = parts.core
        self.runner = parts.core.executor
        assert isinstance(self.runner, ModelRunner)
        self.weights = {name: tensor.clone() for name, tensor in self.runner.weights.items()}
        self.weight_bytes = sum(tensor.nbytes for tensor in self.weights.values())
        self.awake_bytes = tensor_bytes()

    def assert_awake(self) -> None:
        assert self.core.asleep is None
        assert tensor_bytes() == self.awake_bytes
        now = self.runner.weights
        assert now.keys() == self.weights.keys()
        assert all(torch.equal(now[name], tensor) for name, tensor in self.weights.items())

    def assert_asleep(self, level: SleepLevel) -> None:
        kept_bytes = self.weight_bytes if level == 1 else 0
        assert self.core.asleep == SleepState(level, kept_bytes)
        own_bytes = self.weight_bytes  # the clones to compare with
        assert tensor_bytes() - self.nothing_bytes == kept_bytes + own_bytes


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    return tiny_model("llama3.1", tmp_path)


@pytest.fixture
def bed(folder: pathlib.Path) -> Iterator[Bed]:
    bed = Bed(folder)
    yield bed
    bed.core.shutdown()
    assert tensor_bytes() - bed.nothing_bytes == bed.weight_bytes


@pytest.mark.parametrize("level", [1, 2])
def test_asleep_it_holds_its_weights_or_nothing(bed: Bed, level: SleepLevel) -> None:
    for _ in range(3):
        bed.core.sleep(level)
        bed.assert_asleep(level)
        bed.core.wake_up(no_progress)
        bed.assert_awake()


def test_from_the_first_level_it_can_go_to_the_second_but_not_back(bed: Bed) -> None:
    bed.core.sleep(1)
    bed.core.sleep(1)
    bed.assert_asleep(1)
    bed.core.sleep(2)
    bed.assert_asleep(2)
    with pytest.raises(OptionError, match=r"without its weights; .*Wake it up first\."):
        bed.core.sleep(1)
    bed.core.wake_up(no_progress)
    bed.assert_awake()


@pytest.mark.parametrize("end", ["wake up", "second level", "shutdown"])
def test_kept_weights_go_at_once(bed: Bed, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not when somebody collects garbage, which is rare while an engine works: they are gigabytes."""
    bed.core.sleep(1)
    away = {name: tensor.clone() for name, tensor in bed.weights.items()}
    memory = [weakref.ref(tensor) for tensor in away.values()]
    bed.core._sleeper._kept = KeptWeights(away)  # as if they came from a GPU: no tensor of the next runner's
    del away
    monkeypatch.setattr(KeptWeights, "lying_on", lambda kept, device: {})
    monkeypatch.setattr(gc, "collect", lambda: 0)
    if end == "wake up":
        bed.core.wake_up(no_progress)
    elif end == "second level":
        bed.core.sleep(2)
    else:
        bed.core.shutdown()
    assert not any(ref() is not None for ref in memory)


def test_a_shutdown_while_asleep_keeps_nothing(folder: pathlib.Path) -> None:
    bed = Bed(folder)
    bed.core.sleep(1)
    bed.core.shutdown()
    assert tensor_bytes() - bed.nothing_bytes == bed.weight_bytes


def test_the_first_level_needs_no_file_and_the_second_reads_it_again(bed: Bed, folder: pathlib.Path) -> None:
    file = folder / "model.safetensors"
    content = file.read_bytes()
    bed.core.sleep(1)
    file.unlink()
    bed.core.wake_up(no_progress)
    bed.assert_awake()
    bed.core.sleep(2)
    for _ in range(2):
        with pytest.raises(ModelLoadError):
            bed.core.wake_up(no_progress)
        bed.assert_asleep(2)
    file.write_bytes(content)
    bed.core.wake_up(no_progress)
    bed.assert_awake()


@pytest.mark.parametrize("level", [1, 2])
def test_a_fault_while_waking_keeps_nothing(bed: Bed, level: SleepLevel, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(runner: ModelRunner) -> None:
        raise RuntimeError("captured badly")

    bed.core.sleep(level)
    with monkeypatch.context() as patch:
        patch.setattr(ModelRunner, "warm_up", fail)
        with pytest.raises(RuntimeError, match="captured badly") as caught:
            bed.core.wake_up(no_progress)
        bed.assert_asleep(level)
        assert caught.value.__traceback__ is not None, "a notebook keeps it"
    bed.core.wake_up(no_progress)
    bed.assert_awake()


@pytest.mark.parametrize("level", [1, 2])
def test_who_gives_up_waking_leaves_it_asleep(bed: Bed, level: SleepLevel) -> None:
    def give_up(num_done: int, num_total: int) -> None:
        if num_done == num_total:
            raise TimeoutError

    bed.core.sleep(level)
    with pytest.raises(TimeoutError):
        bed.core.wake_up(give_up)
    bed.assert_asleep(level)
    bed.core.wake_up(no_progress)
    bed.assert_awake()


def test_a_file_that_ends_while_it_is_read_keeps_nothing(
    bed: Bed, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bed.core.sleep(2)
    with monkeypatch.context() as patch:
        patch.setattr(os, "preadv", lambda *_: 0)
        with pytest.raises(WeightError, match="ended while"):
            bed.core.wake_up(no_progress)
    bed.assert_asleep(2)
    bed.core.wake_up(no_progress)
    bed.assert_awake()


def test_memory_that_others_took_is_said_with_a_next_step(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    num_blocks = bed.runner.memory.num_blocks
    bed.core.sleep(1)
    scarce = DeviceMemory(device=torch.device("cpu"), total_bytes=2**30, free_bytes=2**16)
    with monkeypatch.context() as patch:
        patch.setattr(DeviceMemory, "measure", lambda device: scarce)
        expected = (
            rf"The engine stays asleep\. A KV cache of {num_blocks} blocks needs .*0\.00 GiB of 1\.00 GiB are free"
        )
        with pytest.raises(GPUMemoryError, match=expected) as caught:
            bed.core.wake_up(no_progress)
        assert caught.value.hint == "Free what others hold, then wake it up again."
    bed.assert_asleep(1)
    bed.core.wake_up(no_progress)
    bed.assert_awake()


def test_running_out_of_memory_on_the_way_is_our_error_too(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    def allocate(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    bed.core.sleep(2)
    with monkeypatch.context() as patch:
        patch.setattr(factory, "KVStore", allocate)
        with pytest.raises(GPUMemoryError, match=r"stays asleep\. Too little memory .*Tried to allocate 20\.00 GiB"):
            bed.core.wake_up(no_progress)
    bed.assert_asleep(2)
    bed.core.wake_up(no_progress)
    bed.assert_awake()


def test_it_wakes_with_as_many_blocks_as_it_had(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pagednb.runner.memory.MAX_CPU_CACHE_BYTES", 2**20)
    bed = Bed(folder)
    geometry = bed.runner.geometry
    bed.core.sleep(2)
    monkeypatch.setattr("pagednb.runner.memory.MAX_CPU_CACHE_BYTES", 2**22)
    bed.core.wake_up(no_progress)
    assert bed.runner.geometry == geometry
    bed.assert_awake()
    bed.core.shutdown()


@pytest.mark.parametrize("options", [{"swap_space": 2**-10}, {"cpu_offload_gb": 2**-13}], ids=str)
def test_what_else_lives_on_the_host_comes_and_goes_too(folder: pathlib.Path, options: dict[str, float]) -> None:
    bed = Bed(folder, **options)
    for level in (1, 2, 1):
        bed.core.sleep(level)
        bed.core.wake_up(no_progress)
        bed.assert_awake()
    bed.core.sleep(2)
    bed.assert_asleep(2)
    bed.core.shutdown()


def test_dummy_weights_are_drawn_again_as_they_were(folder: pathlib.Path) -> None:
    bed = Bed(folder, load_format="dummy", seed=5)
    bed.core.sleep(2)
    bed.core.wake_up(no_progress)
    bed.assert_awake()
    bed.core.shutdown()


class WeightsElsewhere:
    """A runner whose weights are on a device that is no CPU, and without memory."""

    def __init__(self) -> None:
        self.weights = {"w": torch.empty(2**30, device="meta")}
        self.is_shut_down = False

    def shutdown(self) -> None:
        self.is_shut_down = True


def test_a_host_without_room_for_the_weights_is_said_before_anything_is_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scarce = DeviceMemory(device=torch.device("cpu"), total_bytes=2**34, free_bytes=2**30)
    monkeypatch.setattr(DeviceMemory, "measure", lambda device: scarce)
    monkeypatch.setattr(kept_weights, "_fetch", lambda *_: pytest.fail("weights were copied"))
    runner = WeightsElsewhere()
    sleeping = Sleeper(runner, lambda **_: pytest.fail("nobody woke up"))  # type: ignore[arg-type]
    with pytest.raises(GPUMemoryError, match=r"4\.00 GiB, where 1\.00 GiB are free\. .*level 2"):
        sleeping.sleep(1)
    assert sleeping.state is None and not runner.is_shut_down
    sleeping.sleep(2)
    assert runner.is_shut_down
