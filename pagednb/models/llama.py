"""Llama 2, 3, 3.1, 3.2, and what Mistral and Qwen share with them."""

from __future__ import annotations

import dataclasses
from typing import Any

from pagednb.errors import ModelLoadError
from pagednb.models.architecture import Architecture, WeightNames, require_setting
from pagednb.models.model_settings import ModelSettings, Size
from pagednb.models.rope_config import longest_context, read_rope
from pagednb.models.spec import DecoderSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class LlamaLikeSettings(ModelSettings):
    """What the configs of Llama, Mistral and Qwen share. Absent KV heads: as many as query heads."""

    vocab_size: Size = 32_000
    hidden_size: Size = 4096
    intermediate_size: Size = 11_008
    num_hidden_layers: Size = 32
    num_attention_heads: Size = 32
    num_key_value_heads: Size | None = None
    head_dim: Size | None = None
    hidden_act: str = "silu"
    max_position_embeddings: Size = 2048
    rms_norm_eps: float = 1e-6
    tie_word_embeddings: bool = False
    rope_parameters: dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LlamaSettings(LlamaLikeSettings):
    """``config.json`` of Llama."""

    attention_bias: bool = False
    mlp_bias: bool = False
    eos_token_id: Any = 2


LLAMA_NAMES = WeightNames(
    prefix="model.",
    modules={
        "embed_tokens": ("embed_tokens",),
        "layers.{}.attention_norm": ("layers.{}.input_layernorm",),
        "layers.{}.qkv": ("layers.{}.self_attn.q_proj", "layers.{}.self_attn.k_proj", "layers.{}.self_attn.v_proj"),
        "layers.{}.q_norm": ("layers.{}.self_attn.q_norm",),
        "layers.{}.k_norm": ("layers.{}.self_attn.k_norm",),
        "layers.{}.attention_out": ("layers.{}.self_attn.o_proj",),
        "layers.{}.mlp_norm": ("layers.{}.post_attention_layernorm",),
        "layers.{}.gate_up": ("layers.{}.mlp.gate_proj", "layers.{}.mlp.up_proj"),
        "layers.{}.down": ("layers.{}.mlp.down_proj",),
        "final_norm": ("norm",),
        "lm_head": ("lm_head",),
    },
    ignored=("layers.*.self_attn.rotary_emb.inv_freq", "rotary_emb.inv_freq"),
)


def llama_like(config: LlamaLikeSettings, **differences: Any) -> DecoderSpec:
    """Return the spec of a pre-norm decoder with rope and a gated MLP; ``differences`` are fields of DecoderSpec."""
    require_setting(config, "hidden_act", ("silu", "swish"))
    head_dim = config.head_dim or _split(config.hidden_size, config.num_attention_heads)
    rope = read_rope(config, head_dim)
    fields: dict[str, Any] = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_layers": config.num_hidden_layers,
        "num_q_heads": config.num_attention_heads,
        "num_kv_heads": config.num_key_value_heads or config.num_attention_heads,
        "head_dim": head_dim,
        "max_position_embeddings": longest_context(config, rope),
        "embedding_size": config.hidden_size,
        "tie_embeddings": config.tie_word_embeddings,
        "layer_windows": (None,) * config.num_hidden_layers,
        "attention_scale": head_dim**-0.5,
        "rope": rope,
        "norm_eps": config.rms_norm_eps,
    }
    return DecoderSpec(**fields | differences)


def build_spec(config: LlamaSettings) -> DecoderSpec:
    """Return the spec of a Llama model."""
    return llama_like(
        config,
        qkv_bias=config.attention_bias,
        attention_out_bias=config.attention_bias,
        mlp_bias=config.mlp_bias,
    )


def _split(hidden_size: int, num_heads: int) -> int:
    if hidden_size % num_heads:
        raise ModelLoadError(
            f"The model's config has hidden_size={hidden_size}, which {num_heads} heads cannot share.",
            hint="Correct its config.json.",
        )
    return hidden_size // num_heads


LLAMA = Architecture(
    name="LlamaForCausalLM",
    model_type="llama",
    settings=LlamaSettings,
    build_spec=build_spec,
    weight_names=LLAMA_NAMES,
)
