"""Resolution of a model: what it finds, and every error a user can make, each with its next step."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
import torch
from support.tiny_models import ARCHITECTURES, EOS, MAX_POSITIONS, VOCAB_SIZE, tiny_config, tiny_model

from pagednb.config import EngineConfig
from pagednb.errors import (
    ModelLoadError,
    NotSupportedYetError,
    OptionError,
    UnsupportedArchitectureError,
)
from pagednb.models import placement
from pagednb.models.placement import choose_device, choose_dtype
from pagednb.models.resolve import ResolvedModel, resolve_model

CPU = torch.device("cpu")
GPU = torch.device("cuda", 0)


def write_config(folder: pathlib.Path, architecture: str = "llama3.1", **changes: Any) -> pathlib.Path:
    """Write a config.json alone; a change to None removes the setting."""
    tiny_config(architecture).save_pretrained(folder)
    path = folder / "config.json"
    settings = json.loads(path.read_text()) | {"architectures": ["LlamaForCausalLM"]} | changes
    path.write_text(json.dumps({name: value for name, value in settings.items() if value is not None}))
    return folder


def resolve(folder: pathlib.Path, **options: Any) -> ResolvedModel:
    return resolve_model(EngineConfig(model=folder, **{"device": "cpu", **options}))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_resolves(architecture: str, tmp_path: pathlib.Path) -> None:
    resolved = resolve(tiny_model(architecture, tmp_path))
    assert resolved.folder == tmp_path.resolve()
    assert (resolved.spec.vocab_size, resolved.max_model_len) == (VOCAB_SIZE, MAX_POSITIONS)
    assert (resolved.device, resolved.dtype, resolved.eos_token_ids) == ("cpu", "float32", (EOS,))
    assert not resolved.is_embedded and resolved.revision is None


def test_the_sliding_window_of_a_spec(tmp_path: pathlib.Path) -> None:
    assert resolve(tiny_model("mistral", tmp_path / "a")).spec.sliding_window == 8
    mixed = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}
    spec = resolve(tiny_model("qwen2", tmp_path / "b", **mixed)).spec
    assert spec.layer_windows == (None, 8, 8)
    assert spec.sliding_window is None


def test_settings_of_older_transformers_are_understood(tmp_path: pathlib.Path) -> None:
    new = resolve(write_config(tmp_path / "new", dtype="bfloat16"))
    rope = json.loads((tmp_path / "new" / "config.json").read_text())["rope_parameters"]
    old = resolve(
        write_config(
            tmp_path / "old",
            rope_parameters=None,
            dtype=None,
            torch_dtype="bfloat16",
            rope_theta=rope.pop("rope_theta"),
            rope_scaling=rope,
            transformers_version="4.43.0",
            pretraining_tp=1,
        )
    )
    assert old.spec == new.spec
    assert old.settings.dtype == new.settings.dtype == "bfloat16"
    oldest = {**rope, "type": rope["rope_type"]}
    del oldest["rope_type"]
    assert resolve(write_config(tmp_path / "oldest", rope_parameters=None, rope_scaling=oldest)).spec == new.spec


def test_a_config_without_architectures_goes_by_model_type(tmp_path: pathlib.Path) -> None:
    assert resolve(write_config(tmp_path, "opt", architectures=None)).architecture.name == "OPTForCausalLM"


def test_identity_tells_folders_and_dtypes_apart(tmp_path: pathlib.Path) -> None:
    one, other = write_config(tmp_path / "one"), write_config(tmp_path / "other")
    identities = {resolve(one).identity, resolve(other).identity, resolve(one, dtype="bfloat16").identity}
    assert len(identities) == 3
    assert resolve(one).identity in identities


def test_eos_comes_from_the_generation_config_first(tmp_path: pathlib.Path) -> None:
    write_config(tmp_path, eos_token_id=[3, 4])
    assert resolve(tmp_path).eos_token_ids == (3, 4)
    generation = {"eos_token_id": [5, 6, 5], "temperature": 0.6, "top_p": 0.9, "top_k": None, "do_sample": True}
    (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    resolved = resolve(tmp_path)
    assert resolved.eos_token_ids == (5, 6)
    assert resolved.generation_config == {"temperature": 0.6, "top_p": 0.9}
    write_config(tmp_path, eos_token_id=None)
    (tmp_path / "generation_config.json").unlink()
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": None}))
    assert resolve(tmp_path).eos_token_ids == ()


def test_eos_that_is_no_token_id(tmp_path: pathlib.Path) -> None:
    write_config(tmp_path)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [2, "</s>"]}')
    with pytest.raises(ModelLoadError, match=r"eos_token_id.*</s>"):
        resolve(tmp_path)


def test_a_revision_without_a_hub_is_refused(tmp_path: pathlib.Path) -> None:
    write_config(tmp_path)
    for model in (str(tmp_path), None):
        with pytest.raises(OptionError, match="revision='v2'"):
            resolve_model(EngineConfig(model=model, device="cpu", revision="v2"))


def test_no_model_is_the_embedded_one() -> None:
    resolved = resolve_model(EngineConfig(device="cpu"))
    assert resolved.is_embedded
    assert resolved.name == "pagednb/embedded"


@pytest.mark.parametrize("model", ["/nowhere/at/all", "./nowhere", "~/nowhere-at-all", "some/where/else"])
def test_a_missing_folder(model: str) -> None:
    with pytest.raises(ModelLoadError, match=r"does not exist.*hub id"):
        resolve_model(EngineConfig(model=model))


def test_a_folder_without_config(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ModelLoadError, match=r"has no config\.json.*save_pretrained"):
        resolve(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_config_that_is_no_json_object(content: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelLoadError, match=r"config\.json.*JSON"):
        resolve(tmp_path)


def test_an_unsupported_architecture_names_the_nearest(tmp_path: pathlib.Path) -> None:
    write_config(tmp_path, architectures=["Qwen3MoeForCausalLM"])
    with pytest.raises(UnsupportedArchitectureError) as error:
        resolve(tmp_path)
    text = str(error.value)
    assert "'Qwen3MoeForCausalLM' is not supported" in text
    assert "nearest is Qwen3ForCausalLM" in text
    assert "LlamaForCausalLM" in text and "OPTForCausalLM" in text


@pytest.mark.parametrize(
    ("architecture", "changes", "named"),
    [
        ("llama3.1", {"hidden_act": "gelu"}, "hidden_act='gelu'"),
        ("llama3.1", {"num_key_value_heads": 4}, "6 query heads"),
        ("gpt2", {"architectures": ["GPT2LMHeadModel"], "scale_attn_by_inverse_layer_idx": True}, "inverse_layer_idx"),
        ("opt", {"architectures": ["OPTForCausalLM"], "activation_function": "swish"}, "activation_function='swish'"),
        (
            "mistral",
            {
                "architectures": ["MistralForCausalLM"],
                "layer_types": ["full_attention", "sliding_attention", "full_attention"],
            },
            "layer_types",
        ),
    ],
)
def test_a_setting_that_we_lack_is_named(
    architecture: str, changes: dict[str, Any], named: str, tmp_path: pathlib.Path
) -> None:
    write_config(tmp_path, architecture, **changes)
    with pytest.raises(UnsupportedArchitectureError, match=named):
        resolve(tmp_path)


def test_a_setting_of_a_wrong_type(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ModelLoadError, match=r"hidden_size='wide'.*config\.json"):
        resolve(write_config(tmp_path, hidden_size="wide"))


def test_a_quantized_checkpoint(tmp_path: pathlib.Path) -> None:
    with pytest.raises(NotSupportedYetError, match="Quantized"):
        resolve(write_config(tmp_path, quantization_config={"quant_method": "awq", "bits": 4}))


def test_max_model_len(tmp_path: pathlib.Path) -> None:
    write_config(tmp_path)
    assert resolve(tmp_path, max_model_len=100).max_model_len == 100
    with pytest.raises(OptionError, match=rf"max_model_len=1025 exceeds the {MAX_POSITIONS} positions.*at most"):
        resolve(tmp_path, max_model_len=MAX_POSITIONS + 1)


def test_devices_that_do_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match=r"'tpu' is not supported.*'cuda:N'"):
        choose_device("tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == CPU
    with pytest.raises(OptionError, match=r"'cuda'.*no CUDA device.*device='cpu'"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda", 1)
    assert choose_device("cuda:0") == GPU
    with pytest.raises(OptionError, match=r"'cuda:2' does not exist.*2 CUDA"):
        choose_device("cuda:2")


@pytest.mark.parametrize(
    ("checkpoint", "has_bfloat16", "expected"),
    [
        ("bfloat16", True, torch.bfloat16),
        ("float16", True, torch.float16),
        ("float32", True, torch.bfloat16),
        (None, True, torch.bfloat16),
        ("bfloat16", False, torch.float16),
    ],
)
def test_auto_dtype_on_a_gpu(
    checkpoint: str | None, has_bfloat16: bool, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "_has_bfloat16", lambda device: has_bfloat16)
    assert choose_dtype("auto", checkpoint, GPU) == expected


def test_dtypes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_dtype("auto", torch.bfloat16, CPU) == torch.float32
    assert choose_dtype("bfloat16", None, CPU) == torch.bfloat16
    assert choose_dtype("float", None, GPU) == torch.float32
    assert choose_dtype("half", None, GPU) == torch.float16
    with pytest.raises(OptionError, match=r"float16 is not supported on the CPU.*'float32'"):
        choose_dtype("half", None, CPU)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    with pytest.raises(OptionError, match=r"bfloat16 is not supported on Tesla T4.*'float16'"):
        choose_dtype("bfloat16", None, GPU)
