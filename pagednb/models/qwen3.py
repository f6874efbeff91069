"""Qwen3: Llama with an RMSNorm on each query and key head before the rotation."""

from __future__ import annotations

import dataclasses

from pagednb.models.architecture import Architecture
from pagednb.models.llama import LLAMA_NAMES, llama_like
from pagednb.models.model_settings import Size
from pagednb.models.qwen2 import Qwen2Settings, layer_windows
from pagednb.models.spec import DecoderSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Qwen3Settings(Qwen2Settings):
    """``config.json`` of Qwen3."""

    head_dim: Size | None = 128
    attention_bias: bool = False


def build_spec(config: Qwen3Settings) -> DecoderSpec:
    """Return the spec of a Qwen3 model."""
    return llama_like(
        config,
        layer_windows=layer_windows(config),
        qkv_bias=config.attention_bias,
        attention_out_bias=config.attention_bias,
        has_qk_norm=True,
    )


QWEN3 = Architecture(
    name="Qwen3ForCausalLM",
    model_type="qwen3",
    settings=Qwen3Settings,
    build_spec=build_spec,
    weight_names=LLAMA_NAMES,
)
