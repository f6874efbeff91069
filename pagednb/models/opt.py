"""OPT: learned positions from row 2 on, LayerNorm before or (350m) after each block, a narrower embedding (350m)."""

from __future__ import annotations

import dataclasses
from typing import Any

from pagednb.models.architecture import Architecture, WeightNames, read_activation
from pagednb.models.model_settings import ModelSettings, Size
from pagednb.models.spec import DecoderSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class OPTSettings(ModelSettings):
    """``config.json`` of OPT. Without ``word_embed_proj_dim`` the embedding is as wide as the model."""

    vocab_size: Size = 50_272
    hidden_size: Size = 768
    ffn_dim: Size = 3072
    num_hidden_layers: Size = 12
    num_attention_heads: Size = 12
    max_position_embeddings: Size = 2048
    word_embed_proj_dim: Size | None = None
    activation_function: str = "relu"
    enable_bias: bool = True
    do_layer_norm_before: bool = True
    layer_norm_elementwise_affine: bool = True
    _remove_final_layer_norm: bool = False
    tie_word_embeddings: bool = True
    eos_token_id: Any = 2


OPT_NAMES = WeightNames(
    prefix="model.",
    modules={
        "embed_tokens": ("decoder.embed_tokens",),
        "embed_positions": ("decoder.embed_positions",),
        "project_in": ("decoder.project_in",),
        "layers.{}.attention_norm": ("decoder.layers.{}.self_attn_layer_norm",),
        "layers.{}.qkv": tuple(f"decoder.layers.{{}}.self_attn.{part}_proj" for part in "qkv"),
        "layers.{}.attention_out": ("decoder.layers.{}.self_attn.out_proj",),
        "layers.{}.mlp_norm": ("decoder.layers.{}.final_layer_norm",),
        "layers.{}.up": ("decoder.layers.{}.fc1",),
        "layers.{}.down": ("decoder.layers.{}.fc2",),
        "final_norm": ("decoder.final_layer_norm",),
        "project_out": ("decoder.project_out",),
        "lm_head": ("lm_head",),
    },
    ignored=("decoder.version",),
)


def build_spec(config: OPTSettings) -> DecoderSpec:
    """Return the spec of an OPT model."""
    head_dim = config.hidden_size // config.num_attention_heads
    return DecoderSpec(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.ffn_dim,
        num_layers=config.num_hidden_layers,
        num_q_heads=config.num_attention_heads,
        num_kv_heads=config.num_attention_heads,
        head_dim=head_dim,
        max_position_embeddings=config.max_position_embeddings,
        embedding_size=config.word_embed_proj_dim or config.hidden_size,
        position_offset=2,
        tie_embeddings=config.tie_word_embeddings,
        layer_windows=(None,) * config.num_hidden_layers,
        attention_scale=head_dim**-0.5,
        qkv_bias=config.enable_bias,
        attention_out_bias=config.enable_bias,
        gated_mlp=False,
        activation=read_activation(config),
        mlp_bias=config.enable_bias,
        norm="layer",
        norm_eps=1e-5,  # not in the config: torch's default
        norm_placement="pre" if config.do_layer_norm_before else "post",
        norm_has_affine=config.layer_norm_elementwise_affine,
        has_final_norm=config.do_layer_norm_before and not config._remove_final_layer_norm,
    )


OPT = Architecture(
    name="OPTForCausalLM",
    model_type="opt",
    settings=OPTSettings,
    build_spec=build_spec,
    weight_names=OPT_NAMES,
)
