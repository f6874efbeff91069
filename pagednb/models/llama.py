"""Llama 2, 3, 3.1, 3.2, and what Mistral and Qwen share with them."""

from __future__ import annotations

from typing import Any

from pagednb.models.architecture import Architecture, WeightNames, require_setting
from pagednb.models.rope_config import longest_context, read_rope
from pagednb.models.spec import DecoderSpec

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


def llama_like(config: Any, **differences: Any) -> DecoderSpec:
    """Return the spec of a pre-norm decoder with rope and a gated MLP; ``differences`` are fields of DecoderSpec."""
    require_setting(config, "hidden_act", ("silu", "swish"))
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    rope = read_rope(config, head_dim)
    fields: dict[str, Any] = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_layers": config.num_hidden_layers,
        "num_q_heads": config.num_attention_heads,
        "num_kv_heads": config.num_key_value_heads,
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


def build_spec(config: Any) -> DecoderSpec:
    """Return the spec of a LlamaConfig."""
    return llama_like(
        config,
        qkv_bias=config.attention_bias,
        attention_out_bias=config.attention_bias,
        mlp_bias=config.mlp_bias,
    )


LLAMA = Architecture(name="LlamaForCausalLM", model_type="llama", build_spec=build_spec, weight_names=LLAMA_NAMES)
