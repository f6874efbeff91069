"""Layers in host memory: the same numbers to the last bit, whenever their copies run, and each tensor in its place."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from support.hand_batches import HandBatches
from support.late_copies import LateCopies
from support.tiny_models import ARCHITECTURES, VOCAB_SIZE, tiny_model

from pagednb.config import EngineConfig
from pagednb.kernels.kernel_set import torch_kernels
from pagednb.models import offloaded_layers
from pagednb.models.decoder import Decoder
from pagednb.models.kept_weights import KeptWeights
from pagednb.models.load import load_model, loading_model, num_weight_bytes
from pagednb.models.offload_plan import MAX_BUFFERS, plan_offload
from pagednb.models.offloaded_layers import OffloadedLayers
from pagednb.models.resolve import resolve_model
from pagednb.models.weight_copies import ImmediateCopies, copies_for

NUM_LAYERS = 6
LENGTHS = (19, 8, 31)
DTYPE = torch.float32
COPIES: dict[str, Callable[..., Any]] = {"early": copies_for, "late": lambda memory, device: LateCopies()}


@pytest.fixture(scope="module", params=ARCHITECTURES)
def folder(request, tmp_path_factory) -> pathlib.Path:
    return tiny_model(request.param, tmp_path_factory.mktemp("tiny"), num_hidden_layers=NUM_LAYERS)


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> pathlib.Path:
    return tiny_model("llama3.2", tmp_path_factory.mktemp("tiny"), num_hidden_layers=NUM_LAYERS)


def load(folder: pathlib.Path, num_offloaded: int = 0, **options: Any) -> Decoder:
    """Load with so many layers in host memory."""
    config = EngineConfig(model=folder, device="cpu", **options)
    resolved = resolve_model(config)
    if num_offloaded:
        layer_bytes = plan_offload(resolved, 0).layout.weight_bytes
        config = dataclasses.replace(config, cpu_offload_gb=(num_offloaded - MAX_BUFFERS - 0.5) * layer_bytes / 2**30)
    decoder = load_model(resolved, config, torch_kernels())
    assert len(offloaded_of(decoder)) == num_offloaded
    return decoder


def offloaded_of(decoder: Decoder) -> tuple[int, ...]:
    return () if decoder._offloaded is None else decoder._offloaded._layers


def outputs(decoder: Decoder, dtype: torch.dtype = DTYPE) -> list[torch.Tensor]:
    """Logits of prefills, decodes and their mixture, one after another over one cache."""
    generator = torch.Generator().manual_seed(3)
    sequences = [torch.randint(3, VOCAB_SIZE, (length,), generator=generator).tolist() for length in LENGTHS]
    batches = HandBatches(decoder.spec, sequences, dtype=dtype)
    made = []
    with torch.inference_mode():
        for pieces in (
            {"chunks": [(0, 11), (1, 3)], "sample_all": True},
            {"decodes": [1], "chunks": [(2, 30), (0, 5)]},
            {"decodes": [0, 1, 2]},
            {"decodes": [1, 0]},
        ):
            batch, _ = batches.next_batch(**pieces)
            made.append(decoder.compute_logits(decoder.forward(batch, batches.kv)))
    return made


def assert_equal(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("copies", COPIES)
def test_any_number_of_offloaded_layers_changes_no_bit(folder, monkeypatch, copies):
    expected = outputs(load(folder))
    assert all(logits.isfinite().all() for logits in expected)
    monkeypatch.setattr(offloaded_layers, "copies_for", COPIES[copies])
    for num_offloaded in range(MAX_BUFFERS + 1, NUM_LAYERS + 1):
        decoder = load(folder, num_offloaded)
        assert_equal(outputs(decoder), expected)
        assert_equal(outputs(decoder), expected)


def test_who_does_not_wait_is_caught(llama, monkeypatch):
    monkeypatch.setattr(offloaded_layers, "copies_for", COPIES["late"])
    monkeypatch.setattr(OffloadedLayers, "arrive", lambda self, turn: None)
    assert not any(logits.isfinite().any() for logits in outputs(load(llama, 4)))


def test_who_gives_a_buffer_away_too_early_is_caught(llama, monkeypatch):
    leave = OffloadedLayers.leave

    def leave_before(self: OffloadedLayers, turn: int) -> None:
        self._copies.wait(self._arrivals[turn % MAX_BUFFERS])
        leave(self, turn)

    monkeypatch.setattr(OffloadedLayers, "arrive", leave_before)
    monkeypatch.setattr(OffloadedLayers, "leave", lambda self, turn: None)
    wrong = outputs(load(llama, 4))
    assert not any(torch.equal(*pair) for pair in zip(wrong, outputs(load(llama)), strict=True))


class RecordedCopies(ImmediateCopies):
    """Notes what happens: ("start" or "wait", copy number), and the buffer's address."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, int]] = []
        self.targets: list[int] = []

    def start(self, source: torch.Tensor, target: torch.Tensor) -> Any:
        super().start(source, target)
        self.events.append(("start", len(self.targets)))
        self.targets.append(target.data_ptr())
        return len(self.targets) - 1

    def wait(self, arrival: Any) -> None:
        self.events.append(("wait", arrival))


def test_each_copy_starts_a_layer_ahead_and_none_is_left_at_the_end_of_a_pass(llama, monkeypatch):
    copies = RecordedCopies()
    monkeypatch.setattr(offloaded_layers, "copies_for", lambda memory, device: copies)
    decoder = load(llama, 5)
    outputs(decoder)
    num_passes = 4
    first = [
        *[("start", 0), ("start", 1)],
        *[("wait", 0), ("start", 2), ("wait", 1), ("start", 3), ("wait", 2), ("start", 4)],
        *[("wait", 3), ("wait", 4)],
    ]
    assert copies.events == [(what, number + 5 * turn) for turn in range(num_passes) for what, number in first]
    one, other = copies.targets[:2]
    assert one != other and copies.targets == [one, other, one, other, one] * num_passes


def test_every_tensor_is_where_the_plan_says(folder):
    decoder = load(folder, 4)
    layers, offloaded = offloaded_of(decoder), decoder._offloaded
    assert offloaded is not None and layers == (1, 2, 4, 5)
    names = {name for name in decoder.tensors if any(name.startswith(f"layers.{layer}.") for layer in layers)}
    assert offloaded.stored.keys() == offloaded.computed.keys() == names
    host, buffers = offloaded._sources.untyped_storage(), offloaded._buffers
    for name in names:
        stored, computed = decoder.tensors[name], offloaded.computed[name]
        assert stored.untyped_storage().data_ptr() == host.data_ptr()
        assert (stored.shape, stored.dtype) == (computed.shape, computed.dtype)
        assert stored.is_contiguous() and computed.is_contiguous()
        layer, inner = int(name.split(".")[1]), name.split(".", 2)[2]
        buffer = buffers[layers.index(layer) % MAX_BUFFERS]
        assert 0 <= computed.data_ptr() - buffer.data_ptr() <= buffer.nbytes - computed.nbytes
        assert (computed.data_ptr() - buffer.data_ptr()) % 512 == 0
        same = offloaded.computed[f"layers.{layers[(layers.index(layer) + 2) % 4]}.{inner}"]
        assert same.data_ptr() == computed.data_ptr()


def test_stored_tensors_are_those_of_a_plain_load(folder):
    plain, offloaded = load(folder), load(folder, 5)
    assert plain.tensors.keys() == offloaded.tensors.keys()
    assert all(torch.equal(plain.tensors[name], offloaded.tensors[name]) for name in plain.tensors)
    assert plain.num_bytes == offloaded.num_bytes and plain.num_offloaded_bytes == 0
    layer = sum(tensor.nbytes for name, tensor in plain.tensors.items() if name.startswith("layers.0."))
    assert offloaded.num_offloaded_bytes == 5 * layer


@pytest.mark.parametrize("architecture", ["gpt2", "llama3.1"])
def test_weights_of_another_dtype_are_converted_on_their_way(architecture, tmp_path):
    folder = tiny_model(architecture, tmp_path, num_hidden_layers=NUM_LAYERS)
    transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    assert_equal(outputs(load(folder, 4)), outputs(load(folder)))
    half = load(folder, 3, dtype="bfloat16")
    assert {tensor.dtype for tensor in half.tensors.values()} == {torch.bfloat16}
    assert_equal(outputs(half, torch.bfloat16), outputs(load(folder, dtype="bfloat16"), torch.bfloat16))


def test_dummy_weights_are_those_drawn_without_offloading(llama):
    plain, offloaded = (load(llama, count, load_format="dummy", seed=5) for count in (0, 4))
    assert all(torch.equal(plain.tensors[name], offloaded.tensors[name]) for name in plain.tensors)
    assert_equal(outputs(offloaded), outputs(plain))


def test_progress_counts_offloaded_weights_too(llama):
    config = EngineConfig(model=llama, device="cpu", cpu_offload_gb=1e-6)
    resolved = resolve_model(config)
    reports: list[tuple[int, int]] = []
    load_model(resolved, config, torch_kernels(), progress=lambda done, total: reports.append((done, total)))
    assert reports[-1] == (num_weight_bytes(resolved), num_weight_bytes(resolved))


def test_nothing_is_copied_while_the_weights_are_read(llama):
    config = EngineConfig(model=llama, device="cpu", cpu_offload_gb=1e-6)
    with loading_model(resolve_model(config), config, torch_kernels()) as decoder:
        outputs(decoder)
        assert not decoder._offloaded._buffers.any()
    assert_equal(outputs(decoder), outputs(load(llama)))
    assert decoder._offloaded._buffers.any()


def test_weights_that_were_kept_stay_where_they_lie(llama):
    decoder = load(llama, 4)
    expected = outputs(decoder)
    address = decoder._offloaded._sources.data_ptr()
    kept = KeptWeights.of(decoder.tensors)
    layer_bytes = plan_offload(resolve_model(EngineConfig(model=llama, device="cpu")), 0).layout.weight_bytes
    config = EngineConfig(model=llama, device="cpu", cpu_offload_gb=1.5 * layer_bytes / 2**30)
    del decoder
    with loading_model(resolve_model(config), config, torch_kernels(), kept=kept) as again:
        kept.close()
    assert again._offloaded._sources.data_ptr() == address
    assert_equal(outputs(again), expected)
