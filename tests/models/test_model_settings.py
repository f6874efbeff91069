"""Settings of a ``config.json``: the same model as transformers' own config classes make of the file."""

from __future__ import annotations

import dataclasses
import types
from typing import Any

import pytest
import transformers
from support.tiny_models import ARCHITECTURES as TINY_MODELS
from support.tiny_models import tiny_config

from pagednb.errors import ModelLoadError, UnsupportedArchitectureError
from pagednb.models.architecture import Architecture
from pagednb.models.gpt2 import GPT2
from pagednb.models.llama import LLAMA
from pagednb.models.mistral import MISTRAL
from pagednb.models.model_settings import read_settings
from pagednb.models.opt import OPT
from pagednb.models.qwen2 import QWEN2, Qwen2Settings
from pagednb.models.qwen3 import QWEN3
from pagednb.models.registry import ARCHITECTURES, find_architecture

LLAMA3_SCALING = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
YARN = {"type": "yarn", "factor": 4.0, "attention_factor": 1.2}
WINDOWS = {"num_hidden_layers": 5, "use_sliding_window": True, "sliding_window": 9, "max_window_layers": 2}
KINDS = {"layer_types": ["sliding_attention", "full_attention"] * 2}
FILES: dict[str, tuple[Architecture, dict[str, Any]]] = {
    "llama 2, as its authors wrote it": (LLAMA, {"torch_dtype": "float16", "rope_scaling": None, "pretraining_tp": 1}),
    "llama 3.1": (LLAMA, {"rope_theta": 5e5, "rope_scaling": LLAMA3_SCALING, "num_key_value_heads": 8}),
    "linear rope, old name": (LLAMA, {"rope_scaling": {"type": "linear", "factor": 2}, "max_position_embeddings": 64}),
    "a head dim of its own": (LLAMA, {"head_dim": 96, "hidden_size": 1000, "num_attention_heads": 10}),
    "null head dim": (LLAMA, {"head_dim": None, "num_key_value_heads": None, "eos_token_id": [1, 2]}),
    "mistral without window": (MISTRAL, {"sliding_window": None, "rope_theta": 1e6}),
    "mistral without anything": (MISTRAL, {}),
    "qwen2 with windows": (QWEN2, WINDOWS),
    "qwen2 with kinds of layers": (QWEN2, WINDOWS | KINDS | {"num_hidden_layers": 4}),
    "qwen2, windows switched off": (QWEN2, WINDOWS | KINDS | {"num_hidden_layers": 4, "use_sliding_window": False}),
    "qwen3 with YaRN": (QWEN3, {"rope_scaling": YARN, "max_position_embeddings": 40960, "attention_bias": True}),
    "rope parameters of transformers 5": (QWEN3, {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "gpt2 with an inner width": (GPT2, {"n_inner": 100, "scale_attn_weights": False, "eos_token_id": None}),
    "gpt2 by the names of other models": (
        GPT2,
        {"num_attention_heads": 16, "hidden_size": 1024, "num_hidden_layers": 3},
    ),
    "gpt2 by both names": (GPT2, {"num_attention_heads": 6, "n_head": 8, "max_position_embeddings": 64}),
    "a dtype that is null, and its old name": (GPT2, {"dtype": None, "torch_dtype": "float16"}),
    "opt 350m": (OPT, {"word_embed_proj_dim": 512, "do_layer_norm_before": False, "hidden_size": 1024}),
    "opt without final norm": (OPT, {"_remove_final_layer_norm": True, "enable_bias": False}),
}


def check_equal(architecture: Architecture, raw: dict[str, Any]) -> None:
    config = transformers.CONFIG_MAPPING[architecture.model_type].from_dict(
        {**raw, "model_type": architecture.model_type}
    )
    absent = {"layer_types": None, "head_dim": None}  # not every class has them
    theirs = types.SimpleNamespace(**absent | config.to_dict())
    ours = read_settings(architecture.settings, raw)
    assert architecture.build_spec(ours) == architecture.build_spec(theirs)
    assert ours.eos_token_id == config.eos_token_id
    assert ours.dtype == (None if config.dtype is None else str(config.dtype).removeprefix("torch."))


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_an_empty_file_has_transformers_defaults(architecture: Architecture) -> None:
    check_equal(architecture, {})


@pytest.mark.parametrize("case", FILES.values(), ids=FILES)
def test_files_of_all_ages(case: tuple[Architecture, dict[str, Any]]) -> None:
    check_equal(*case)


@pytest.mark.parametrize("name", TINY_MODELS)
def test_files_that_transformers_writes(name: str) -> None:
    settings = tiny_config(name).to_dict()
    check_equal(find_architecture({"model_type": settings["model_type"]}), settings)


def test_the_comparison_can_fail() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Wrong(Qwen2Settings):
        max_window_layers: int = 27

    raw = {"use_sliding_window": True}
    check_equal(QWEN2, raw)
    with pytest.raises(AssertionError):
        check_equal(dataclasses.replace(QWEN2, settings=Wrong), raw)


WRONG_TYPES: dict[str, tuple[dict[str, Any], str]] = {
    "text for a number": ({"hidden_size": "wide"}, r"hidden_size='wide', which is not a whole number above 0"),
    "no heads": ({"num_attention_heads": 0}, r"num_attention_heads=0, which is not a whole number above 0"),
    "a fraction": ({"head_dim": 12.5}, r"head_dim=12\.5, which is not a whole number above 0 or null"),
    "a number for a switch": ({"mlp_bias": 1}, r"mlp_bias=1, which is not true or false"),
    "a switch for a number": ({"vocab_size": True}, r"vocab_size=True, which is not a whole number"),
    "null": ({"rms_norm_eps": None}, r"rms_norm_eps=None, which is not a number"),
    "a dtype that is no text": ({"torch_dtype": 16}, r"dtype=16, which is not a text or null"),
    "rope as text": ({"rope_scaling": "linear"}, r"rope settings 'linear'"),
    "a rope theta that is no number": ({"rope_theta": "1e6"}, r"rope_theta='1e6', which is no number"),
    "a rope factor that is no number": ({"rope_scaling": {"type": "linear", "factor": "2"}}, r"factor='2'"),
    "a rope without its factor": ({"rope_scaling": {"type": "linear"}}, r"'linear' without 'factor'"),
    "heads that do not divide": ({"num_attention_heads": 3}, r"hidden_size=4096, which 3 heads cannot share"),
}


@pytest.mark.parametrize("case", WRONG_TYPES.values(), ids=WRONG_TYPES)
def test_settings_of_a_wrong_type_are_named(case: tuple[dict[str, Any], str]) -> None:
    raw, message = case
    with pytest.raises(ModelLoadError, match=message):
        LLAMA.build_spec(read_settings(LLAMA.settings, raw))


def test_layer_types_that_do_not_fit() -> None:
    def build(**raw: Any) -> None:
        QWEN2.build_spec(read_settings(QWEN2.settings, {"num_hidden_layers": 2, **raw}))

    with pytest.raises(ModelLoadError, match="1 layer_types for 2 layers"):
        build(layer_types=["full_attention"])
    with pytest.raises(UnsupportedArchitectureError, match="'linear_attention'"):
        build(layer_types=["full_attention", "linear_attention"])
    with pytest.raises(ModelLoadError, match="which is not a list of texts or null"):
        build(layer_types=["full_attention", 1])


def test_rope_of_each_kind_of_layer() -> None:
    nested = {"full_attention": {"rope_type": "default"}, "sliding_attention": {"rope_type": "linear", "factor": 2.0}}
    with pytest.raises(UnsupportedArchitectureError, match="each kind of layer"):
        read_settings(LLAMA.settings, {"rope_parameters": nested})
