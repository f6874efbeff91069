"""GPT-2 and DialoGPT: learned positions, LayerNorm, one fused QKV, weights stored as ``[in, out]``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from pagednb.models.architecture import Architecture, WeightNames, read_activation, require_setting
from pagednb.models.model_settings import ModelSettings, Size
from pagednb.models.spec import DecoderSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class GPT2Settings(ModelSettings):
    """``config.json`` of GPT-2. Without ``n_inner`` the MLP is four times as wide as the model."""

    other_names: ClassVar[Mapping[str, str]] = {
        "hidden_size": "n_embd",
        "max_position_embeddings": "n_positions",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
    }

    vocab_size: Size = 50_257
    n_positions: Size = 1024
    n_embd: Size = 768
    n_layer: Size = 12
    n_head: Size = 12
    n_inner: Size | None = None
    activation_function: str = "gelu_new"
    layer_norm_epsilon: float = 1e-5
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    add_cross_attention: bool = False
    tie_word_embeddings: bool = True
    eos_token_id: Any = 50_256


GPT2_NAMES = WeightNames(
    prefix="transformer.",
    modules={
        "embed_tokens": ("wte",),
        "embed_positions": ("wpe",),
        "layers.{}.attention_norm": ("h.{}.ln_1",),
        "layers.{}.qkv": ("h.{}.attn.c_attn",),
        "layers.{}.attention_out": ("h.{}.attn.c_proj",),
        "layers.{}.mlp_norm": ("h.{}.ln_2",),
        "layers.{}.up": ("h.{}.mlp.c_fc",),
        "layers.{}.down": ("h.{}.mlp.c_proj",),
        "final_norm": ("ln_f",),
        "lm_head": ("lm_head",),
    },
    transposed=("layers.{}.qkv", "layers.{}.attention_out", "layers.{}.up", "layers.{}.down"),
    ignored=("h.*.attn.bias", "h.*.attn.masked_bias"),  # causal masks, stored by old versions
)


def build_spec(config: GPT2Settings) -> DecoderSpec:
    """Return the spec of a GPT-2 model."""
    require_setting(config, "scale_attn_by_inverse_layer_idx", (False,))
    require_setting(config, "add_cross_attention", (False,))
    head_dim = config.n_embd // config.n_head
    return DecoderSpec(
        vocab_size=config.vocab_size,
        hidden_size=config.n_embd,
        intermediate_size=config.n_inner or 4 * config.n_embd,
        num_layers=config.n_layer,
        num_q_heads=config.n_head,
        num_kv_heads=config.n_head,
        head_dim=head_dim,
        max_position_embeddings=config.n_positions,
        embedding_size=config.n_embd,
        position_offset=0,
        tie_embeddings=config.tie_word_embeddings,
        layer_windows=(None,) * config.n_layer,
        attention_scale=head_dim**-0.5 if config.scale_attn_weights else 1.0,
        qkv_bias=True,
        attention_out_bias=True,
        gated_mlp=False,
        activation=read_activation(config),
        mlp_bias=True,
        norm="layer",
        norm_eps=config.layer_norm_epsilon,
    )


GPT2 = Architecture(
    name="GPT2LMHeadModel",
    model_type="gpt2",
    settings=GPT2Settings,
    build_spec=build_spec,
    weight_names=GPT2_NAMES,
)
