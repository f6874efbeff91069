"""Qwen2 and Qwen2.5: Llama with biases on Q, K and V; some layers may have a sliding window."""

from __future__ import annotations

from typing import Any

from pagednb.models.architecture import Architecture
from pagednb.models.llama import LLAMA_NAMES, llama_like
from pagednb.models.spec import DecoderSpec


def layer_windows(config: Any) -> tuple[int | None, ...]:
    """Return the sliding window of each layer: that of the config where ``layer_types`` says so."""
    return tuple(config.sliding_window if kind == "sliding_attention" else None for kind in config.layer_types)


def build_spec(config: Any) -> DecoderSpec:
    """Return the spec of a Qwen2Config."""
    return llama_like(config, layer_windows=layer_windows(config), qkv_bias=True)


QWEN2 = Architecture(name="Qwen2ForCausalLM", model_type="qwen2", build_spec=build_spec, weight_names=LLAMA_NAMES)
