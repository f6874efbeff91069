"""Mistral: Llama with one sliding window for all layers, or none."""

from __future__ import annotations

import dataclasses
from typing import Any

from pagednb.errors import UnsupportedArchitectureError
from pagednb.models.architecture import Architecture
from pagednb.models.llama import LLAMA_NAMES, LlamaLikeSettings, llama_like
from pagednb.models.model_settings import Size
from pagednb.models.spec import DecoderSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class MistralSettings(LlamaLikeSettings):
    """``config.json`` of Mistral."""

    intermediate_size: Size = 14_336
    num_key_value_heads: Size | None = 8
    max_position_embeddings: Size = 131_072
    sliding_window: Size | None = 4096
    layer_types: list[str] | None = None
    eos_token_id: Any = 2


def build_spec(config: MistralSettings) -> DecoderSpec:
    """Return the spec of a Mistral model."""
    if len(set(config.layer_types or ())) > 1:
        raise UnsupportedArchitectureError(
            "The model's config mixes kinds of attention (layer_types), which Mistral models do not have.",
            hint="Use another checkpoint; Ministral is not supported.",
        )
    return llama_like(config, layer_windows=(config.sliding_window,) * config.num_hidden_layers)


MISTRAL = Architecture(
    name="MistralForCausalLM",
    model_type="mistral",
    settings=MistralSettings,
    build_spec=build_spec,
    weight_names=LLAMA_NAMES,
)
