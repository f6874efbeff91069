"""Mistral: Llama with one sliding window for all layers, or none."""

from __future__ import annotations

from typing import Any

from pagednb.errors import UnsupportedArchitectureError
from pagednb.models.architecture import Architecture
from pagednb.models.llama import LLAMA_NAMES, llama_like
from pagednb.models.spec import DecoderSpec


def build_spec(config: Any) -> DecoderSpec:
    """Return the spec of a MistralConfig."""
    if len(set(getattr(config, "layer_types", None) or ())) > 1:
        raise UnsupportedArchitectureError(
            "The model's config mixes kinds of attention (layer_types), which Mistral models do not have.",
            hint="Use another checkpoint; Ministral is not supported.",
        )
    return llama_like(config, layer_windows=(config.sliding_window,) * config.num_hidden_layers)


MISTRAL = Architecture(name="MistralForCausalLM", model_type="mistral", build_spec=build_spec, weight_names=LLAMA_NAMES)
