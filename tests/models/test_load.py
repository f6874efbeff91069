"""Weight loading: every layout gives the same tensors, and every broken checkpoint is refused by name and shape."""

from __future__ import annotations

import json
import os
import pathlib
import pickle
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from support.hand_batches import HandBatches
from support.tiny_models import VOCAB_SIZE, tiny_hf_model, tiny_model

from pagednb.config import EngineConfig
from pagednb.errors import ModelLoadError, RequestCancelledError, WeightError
from pagednb.kernels.kernel_set import torch_kernels
from pagednb.models import load, staging, stored_tensor
from pagednb.models.decoder import Decoder
from pagednb.models.load import load_model, loading_model, num_weight_bytes
from pagednb.models.resolve import resolve_model

PROMPT = [5, 99, 17, 64, 3, 128, 40]
Edit = Callable[[dict[str, torch.Tensor]], None]


def load_folder(folder: pathlib.Path, **options: Any) -> Decoder:
    config = EngineConfig(model=folder, **{"device": "cpu", **options})
    return load_model(resolve_model(config), config, torch_kernels())


def logits_of(decoder: Decoder, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    batches = HandBatches(decoder.spec, [PROMPT], dtype=dtype)
    batch, _ = batches.next_batch(chunks=[(0, len(PROMPT))], sample_all=True)
    with torch.inference_mode():
        return decoder.compute_logits(decoder.forward(batch, batches.kv))


def transformers_logits(folder: pathlib.Path) -> torch.Tensor:
    with torch.inference_mode():
        return transformers.AutoModelForCausalLM.from_pretrained(folder).eval()(torch.tensor([PROMPT])).logits[0]


def edit_weights(folder: pathlib.Path, edit: Edit) -> pathlib.Path:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, metadata={"format": "pt"})
    return folder


def to_pickle(folder: pathlib.Path, **how: Any) -> pathlib.Path:
    path = folder / "model.safetensors"
    torch.save(load_file(path), folder / "pytorch_model.bin", **how)
    path.unlink()
    return folder


def renamed(old: str, new: str) -> Edit:
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        for name in [name for name in tensors if name.startswith(old)]:
            tensors[new + name.removeprefix(old)] = tensors.pop(name)

    return edit


def test_shards_equal_one_file(tmp_path: pathlib.Path) -> None:
    expected = logits_of(load_folder(tiny_model("llama3.1", tmp_path / "one")))
    tiny_hf_model("llama3.1").save_pretrained(tmp_path / "shards", max_shard_size="100KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 3
    assert torch.equal(logits_of(load_folder(tmp_path / "shards")), expected)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_pickles_equal_safetensors(zipped: bool, tmp_path: pathlib.Path) -> None:
    folder = tiny_model("gpt2", tmp_path)
    expected = logits_of(load_folder(folder))
    to_pickle(folder, _use_new_zipfile_serialization=zipped)
    assert torch.equal(logits_of(load_folder(folder)), expected)
    assert torch.equal(logits_of(load_folder(folder, load_format="pt")), expected)
    with pytest.raises(ModelLoadError, match=r"no weights.*model\.safetensors"):
        load_folder(folder, load_format="safetensors")


@pytest.mark.parametrize(("architecture", "prefix"), [("gpt2", "transformer."), ("opt", "model."), ("qwen3", "model.")])
def test_names_with_and_without_prefix(architecture: str, prefix: str, tmp_path: pathlib.Path) -> None:
    folder = tiny_model(architecture, tmp_path)
    expected = logits_of(load_folder(folder))
    edit_weights(folder, renamed(prefix, ""))
    assert torch.equal(logits_of(load_folder(folder)), expected)


def test_buffers_and_tied_heads_of_old_checkpoints_are_no_surplus(tmp_path: pathlib.Path) -> None:
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        tensors["lm_head.weight"] = tensors["transformer.wte.weight"].clone()
        for layer in range(3):
            tensors[f"transformer.h.{layer}.attn.bias"] = torch.ones(1, 1, 8, 8, dtype=torch.uint8)
            tensors[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)

    folder = tiny_model("gpt2", tmp_path)
    expected = logits_of(load_folder(folder))
    assert torch.equal(logits_of(load_folder(edit_weights(folder, edit))), expected)


def test_a_head_that_differs_from_the_embedding_it_is_tied_to(tmp_path: pathlib.Path) -> None:
    folder = tiny_model("qwen2.5", tmp_path)
    edit_weights(folder, lambda tensors: tensors.update({"lm_head.weight": torch.zeros(VOCAB_SIZE, 96)}))
    with pytest.raises(WeightError, match=r"ties 'lm_head\.weight'.*differ.*tie_word_embeddings"):
        load_folder(folder)


@pytest.mark.parametrize("architecture", ["gpt2", "llama3.2", "opt-350m"])
def test_other_dtypes_are_converted_through_small_buffers(
    architecture: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "_BUFFER_BYTES", 2000)  # a few rows each
    folder = tiny_model(architecture, tmp_path)
    transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    exact = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).save_pretrained
    loaded = load_folder(folder)
    exact(tmp_path / "exact")
    assert torch.equal(logits_of(loaded), logits_of(load_folder(tmp_path / "exact")))
    half = load_folder(folder, dtype="bfloat16")
    assert {tensor.dtype for tensor in half.tensors.values()} == {torch.bfloat16}
    assert half.num_bytes * 2 == loaded.num_bytes


@pytest.mark.parametrize("num_bytes", [1, 100, 2000, 10**9], ids=["a row each", "odd", "some rows", "whole tensors"])
@pytest.mark.parametrize("num_readers", [1, 3, 40])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"], ids=["direct", "converted"])
def test_pieces_of_any_size_by_any_number_of_readers(
    num_bytes: int, num_readers: int, dtype: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_hf_model("llama3.2").save_pretrained(tmp_path, max_shard_size="150KB")
    monkeypatch.setattr(staging, "_BUFFER_BYTES", num_bytes)
    monkeypatch.setattr(staging, "_MAX_READERS", num_readers)
    monkeypatch.setattr(staging.os, "cpu_count", lambda: 64)
    loaded = load_folder(tmp_path, dtype=dtype).tensors
    stored = {name: tensor for path in tmp_path.glob("*.safetensors") for name, tensor in load_file(path).items()}
    stored = {name: tensor.to(getattr(torch, dtype)) for name, tensor in stored.items()}
    assert torch.equal(loaded["embed_tokens.weight"], stored.pop("model.embed_tokens.weight"))
    assert torch.equal(loaded["final_norm.weight"], stored.pop("model.norm.weight"))
    for layer in range(3):
        parts = [stored.pop(f"model.layers.{layer}.self_attn.{part}_proj.weight") for part in "qkvo"]
        assert torch.equal(loaded[f"layers.{layer}.qkv.weight"], torch.cat(parts[:3]))
        assert torch.equal(loaded[f"layers.{layer}.attention_out.weight"], parts[3])
        parts = [stored.pop(f"model.layers.{layer}.mlp.{part}_proj.weight") for part in ("gate", "up", "down")]
        assert torch.equal(loaded[f"layers.{layer}.gate_up.weight"], torch.cat(parts[:2]))
        assert torch.equal(loaded[f"layers.{layer}.down.weight"], parts[2])
    assert len(stored) == 6 and all("layernorm" in name for name in stored)


def test_the_model_stands_before_its_weights(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_model("llama2", tmp_path)
    expected = logits_of(load_folder(folder))
    may_read = threading.Event()
    read_rows = stored_tensor.SafetensorsFile.read_rows

    def wait_and_read(*args: Any) -> None:
        assert may_read.wait(60)
        read_rows(*args)

    monkeypatch.setattr(stored_tensor.SafetensorsFile, "read_rows", wait_and_read)
    config = EngineConfig(model=folder, device="cpu")
    with loading_model(resolve_model(config), config, torch_kernels()) as model:
        for tensor in model.tensors.values():
            tensor.fill_(float("nan"))
        assert not logits_of(model).isfinite().any()
        may_read.set()
    assert torch.equal(logits_of(model), expected)


def test_progress_counts_stored_bytes(tmp_path: pathlib.Path) -> None:
    config = EngineConfig(model=tiny_model("llama2", tmp_path), device="cpu")
    reports: list[tuple[int, int]] = []
    model = load_model(
        resolve_model(config), config, torch_kernels(), progress=lambda done, total: reports.append((done, total))
    )
    done = [report[0] for report in reports]
    assert done == sorted(done)
    assert reports[-1] == (model.num_bytes, model.num_bytes)
    assert {total for _, total in reports} == {model.num_bytes}


def reader_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("pagednb-read")]


def test_an_interrupt_midway_leaves_no_thread_behind(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "_BUFFER_BYTES", 1000)
    config = EngineConfig(model=tiny_model("llama2", tmp_path), device="cpu")
    reports: list[int] = []

    def interrupt(done: int, total: int) -> None:
        reports.append(done)
        if done > total // 3:
            raise RequestCancelledError("Loading was interrupted.")

    resolved = resolve_model(config)
    with pytest.raises(RequestCancelledError, match="interrupted"):
        load_model(resolved, config, torch_kernels(), progress=interrupt)
    assert not reader_threads()
    assert reports == sorted(reports)
    num_third = num_weight_bytes(resolved) // 3
    assert sum(done > num_third for done in reports) <= staging._MAX_READERS  # those that were at a piece


def test_a_block_that_fails_ends_the_reading(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "_BUFFER_BYTES", 1000)
    config = EngineConfig(model=tiny_model("llama2", tmp_path), device="cpu")
    reports: list[int] = []
    began = threading.Event()

    def report(done: int, total: int) -> None:
        began.set()
        time.sleep(0.001)
        reports.append(done)

    resolved = resolve_model(config)
    with pytest.raises(KeyError), loading_model(resolved, config, torch_kernels(), progress=report):
        assert began.wait(60)
        raise KeyError
    assert not reader_threads()
    assert reports[-1] < num_weight_bytes(resolved)


def test_a_file_that_ends_while_it_is_read(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_model("llama2", tmp_path)
    allocate = load._allocate

    def allocate_and_cut(*args: Any) -> Any:
        os.truncate(folder / "model.safetensors", 30_000)
        return allocate(*args)

    monkeypatch.setattr(load, "_allocate", allocate_and_cut)
    with pytest.raises(WeightError, match=r"model\.safetensors ended while '.*' was read"):
        load_folder(folder)
    assert not reader_threads()


def test_dummy_weights_come_from_the_seed_and_leave_the_global_generator_alone(tmp_path: pathlib.Path) -> None:
    folder = tiny_model("qwen3", tmp_path)
    (folder / "model.safetensors").unlink()
    before = torch.get_rng_state()
    one, same, other = (load_folder(folder, load_format="dummy", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(logits_of(one), logits_of(same))
    assert not torch.equal(logits_of(one), logits_of(other))
    assert logits_of(one).isfinite().all()
    assert (one.tensors["layers.0.q_norm.weight"] == 1).all()
    assert 0.019 < one.tensors["layers.0.qkv.weight"].std() < 0.021


BROKEN: dict[str, tuple[str, Edit, str]] = {
    "missing": (
        "llama3.1",
        lambda tensors: tensors.pop("model.layers.1.self_attn.k_proj.weight"),
        r"lacks 'layers\.1\.self_attn\.k_proj\.weight' of shape \[32, 96\]\.",
    ),
    "many missing": (
        "qwen2",
        lambda tensors: [tensors.pop(name) for name in list(tensors) if name.endswith("_proj.bias")],
        r"lacks .* and 6 more tensors",
    ),
    "missing, stored transposed": (
        "gpt2",
        lambda tensors: tensors.pop("transformer.h.0.mlp.c_fc.weight"),
        r"lacks 'h\.0\.mlp\.c_fc\.weight' of shape \[96, 384\]",
    ),
    "surplus": (
        "llama3.1",
        lambda tensors: tensors.update({"model.layers.0.self_attn.q_proj.bias": torch.zeros(96)}),
        r"holds 'model\.layers\.0\.self_attn\.q_proj\.bias', which the model has no place for",
    ),
    "surplus layer": (
        "opt",
        lambda tensors: tensors.update({"model.decoder.layers.3.fc1.bias": torch.zeros(168)}),
        r"holds 'model\.decoder\.layers\.3\.fc1\.bias'",
    ),
    "misshapen": (
        "qwen3",
        lambda tensors: tensors.update({"model.layers.2.mlp.up_proj.weight": torch.zeros(168, 95)}),
        r"'model\.layers\.2\.mlp\.up_proj\.weight' has shape \[168, 95\]; .* asks for \[168, 96\]",
    ),
    "not transposed": (
        "gpt2",
        lambda tensors: tensors.update({"transformer.h.0.attn.c_attn.weight": torch.zeros(288, 96)}),
        r"has shape \[288, 96\]; .* asks for \[96, 288\]",
    ),
    "quantized": (
        "llama2",
        lambda tensors: tensors.update({"model.layers.0.mlp.up_proj.weight": torch.zeros(168, 96, dtype=torch.int8)}),
        r"'model\.layers\.0\.mlp\.up_proj\.weight' is stored as int8.*Quantized",
    ),
}


@pytest.mark.parametrize("case", BROKEN.values(), ids=BROKEN)
def test_tensors_that_do_not_fit(
    case: tuple[str, Edit, str], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    architecture, edit, message = case
    folder = edit_weights(tiny_model(architecture, tmp_path), edit)
    monkeypatch.setattr(load, "_allocate", lambda *args: pytest.fail("allocated before the checkpoint was checked"))
    with pytest.raises(WeightError, match=message):
        load_folder(folder)


@pytest.mark.parametrize("cut", [-1, -5000, 3, 100], ids=["last byte", "data", "length", "header"])
def test_a_truncated_file(cut: int, tmp_path: pathlib.Path) -> None:
    path = tiny_model("llama2", tmp_path) / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:cut])
    with pytest.raises(WeightError, match=r"model\.safetensors is truncated: \d+ bytes"):
        load_folder(tmp_path)


def test_files_that_are_not_what_they_claim(tmp_path: pathlib.Path) -> None:
    path = tiny_model("llama2", tmp_path) / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content + b"x")
    with pytest.raises(WeightError, match="longer than it should be"):
        load_folder(tmp_path)
    path.write_bytes(len(content).to_bytes(8, "little")[:1] + bytes(7) + b"no json at all" * 100)
    with pytest.raises(WeightError, match="not a safetensors file"):
        load_folder(tmp_path)


ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    "header", [[1], {"a": 5}, {"a": {}}, {"a": {**ENTRY, "shape": [-1]}}, {"a": {**ENTRY, "data_offsets": ["0", 4]}}]
)
def test_headers_of_another_form(header: Any, tmp_path: pathlib.Path) -> None:
    path = tiny_model("llama2", tmp_path) / "model.safetensors"
    content = json.dumps(header).encode()
    path.write_bytes(len(content).to_bytes(8, "little") + content + bytes(4))
    with pytest.raises(WeightError, match="not a safetensors file"):
        load_folder(tmp_path)


@pytest.mark.parametrize("index", [[1], {}, {"weight_map": [1]}, {"weight_map": {"a": 1}}])
def test_an_index_of_another_form(index: Any, tmp_path: pathlib.Path) -> None:
    tiny_model("llama2", tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightError, match="not an index"):
        load_folder(tmp_path)


class Malice:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("this must never run",))


@pytest.mark.parametrize("content", [{"weight": Malice()}, {"epoch": 3}], ids=["code", "other things"])
def test_pickles_with_more_than_tensors(content: Any, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture) -> None:
    folder = to_pickle(tiny_model("llama2", tmp_path))
    torch.save(content, folder / "pytorch_model.bin")
    with pytest.raises(WeightError, match=r"pytorch_model\.bin holds"):
        load_folder(folder)
    assert "never run" not in capsys.readouterr().out


def test_a_truncated_pickle(tmp_path: pathlib.Path) -> None:
    path = to_pickle(tiny_model("llama2", tmp_path)) / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(WeightError, match="truncated or broken"):
        load_folder(tmp_path)


def test_missing_and_doubled_shards(tmp_path: pathlib.Path) -> None:
    tiny_hf_model("llama2").save_pretrained(tmp_path, max_shard_size="200KB")
    first, second = sorted(tmp_path.glob("*.safetensors"))[:2]
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    with pytest.raises(WeightError, match="and in another shard"):
        load_folder(tmp_path)
    first.write_bytes(content)
    second.unlink()
    with pytest.raises(ModelLoadError, match=f"{second.name} does not exist"):
        load_folder(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"no": "map"}))
    with pytest.raises(WeightError, match="not an index"):
        load_folder(tmp_path)


def test_the_malice_is_real(capsys: pytest.CaptureFixture) -> None:
    pickle.loads(pickle.dumps(Malice()))
    assert "never run" in capsys.readouterr().out
