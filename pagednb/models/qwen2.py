"""Qwen2 and Qwen2.5: Llama with biases on Q, K and V; some layers may have a sliding window."""

from __future__ import annotations

import dataclasses

from pagednb.errors import ModelLoadError, UnsupportedArchitectureError
from pagednb.models.architecture import Architecture
from pagednb.models.llama import LLAMA_NAMES, LlamaLikeSettings, llama_like
from pagednb.models.model_settings import Size
from pagednb.models.spec import DecoderSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Qwen2Settings(LlamaLikeSettings):
    """``config.json`` of Qwen2. Without ``layer_types`` the first ``max_window_layers`` layers see all."""

    vocab_size: Size = 151_936
    intermediate_size: Size = 22_016
    num_key_value_heads: Size | None = 32
    max_position_embeddings: Size = 32_768
    use_sliding_window: bool = False
    sliding_window: Size | None = 4096
    max_window_layers: int = 28
    layer_types: list[str] | None = None


def layer_windows(config: Qwen2Settings) -> tuple[int | None, ...]:
    """Return the sliding window of each layer: that of the config where ``layer_types`` says so."""
    window = config.sliding_window if config.use_sliding_window else None
    if config.layer_types is None:
        return tuple(window if i >= config.max_window_layers else None for i in range(config.num_hidden_layers))
    if len(config.layer_types) != config.num_hidden_layers:
        raise ModelLoadError(
            f"The model's config has {len(config.layer_types)} layer_types for {config.num_hidden_layers} layers.",
            hint="Correct its config.json.",
        )
    for kind in config.layer_types:
        if kind not in ("full_attention", "sliding_attention"):
            raise UnsupportedArchitectureError(
                f"The model's config has layers of kind {kind!r}, which pagednb does not have.",
                hint="Use another checkpoint.",
            )
    return tuple(window if kind == "sliding_attention" else None for kind in config.layer_types)


def build_spec(config: Qwen2Settings) -> DecoderSpec:
    """Return the spec of a Qwen2 model."""
    return llama_like(config, layer_windows=layer_windows(config), qkv_bias=True)


QWEN2 = Architecture(
    name="Qwen2ForCausalLM",
    model_type="qwen2",
    settings=Qwen2Settings,
    build_spec=build_spec,
    weight_names=LLAMA_NAMES,
)
