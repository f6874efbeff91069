"""Qwen3: Llama with an RMSNorm on each query and key head before the rotation."""

from __future__ import annotations

from typing import Any

from pagednb.models.architecture import Architecture
from pagednb.models.llama import LLAMA_NAMES, llama_like
from pagednb.models.qwen2 import layer_windows
from pagednb.models.spec import DecoderSpec


def build_spec(config: Any) -> DecoderSpec:
    """Return the spec of a Qwen3Config."""
    return llama_like(
        config,
        layer_windows=layer_windows(config),
        qkv_bias=config.attention_bias,
        attention_out_bias=config.attention_bias,
        has_qk_norm=True,
    )


QWEN3 = Architecture(name="Qwen3ForCausalLM", model_type="qwen3", build_spec=build_spec, weight_names=LLAMA_NAMES)
