"""Benchmark workloads: lists of (prompt token ids, max new tokens), alike for every engine that is compared.

Token ids are random below every model's vocabulary, so that no engine wins by its tokenizer. ``nano`` is nano-vllm's
own benchmark, ``chatlike`` has ShareGPT-like log-normal lengths, ``label`` is dataframe labelling: one shared
instruction, thousands of rows, short answers; ``single`` is one chat turn.
"""

from __future__ import annotations

import json
import pathlib

import numpy as np

VOCAB = 20_000
NAMES = ("single", "chatlike", "nano", "label")

Workload = list[tuple[list[int], int]]

LLAMA_3_1_8B = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "rope_scaling": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "bos_token_id": 1,
    "eos_token_id": 2,
    "attention_bias": False,
    "mlp_bias": False,
}
QWEN3_0_6B = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "bos_token_id": 1,
    "eos_token_id": 2,
    "attention_bias": False,
}
MODELS = {"llama-3.1-8b": LLAMA_3_1_8B, "qwen3-0.6b": QWEN3_0_6B}


def make_workload(name: str, seed: int) -> Workload:
    """Return the requests of workload ``name``; equal seeds give equal requests."""
    rng = np.random.default_rng([seed, sum(map(ord, name))])
    if name == "nano":
        return [(_ids(rng, rng.integers(100, 1025)), int(rng.integers(100, 1025))) for _ in range(256)]
    if name == "chatlike":
        return [_chat_turn(rng) for _ in range(1000)]
    if name == "label":
        prefix = _ids(rng, 512)
        return [(prefix + _ids(rng, rng.integers(32, 257)), 8) for _ in range(4096)]
    if name == "single":
        return [(_ids(rng, 128), 256)]
    raise ValueError(f"Unknown workload {name!r}; known: {', '.join(NAMES)}.")


def model_folder(name: str, root: pathlib.Path) -> pathlib.Path:
    """Write the model's config.json (weights are random) below ``root`` and return its folder."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(MODELS[name], indent=1))
    return folder


def _ids(rng: np.random.Generator, count: int) -> list[int]:
    return rng.integers(10, VOCAB, size=count).tolist()


def _chat_turn(rng: np.random.Generator) -> tuple[list[int], int]:
    num_in = int(np.clip(rng.lognormal(5.0, 0.9), 8, 1024))
    num_out = int(np.clip(rng.lognormal(5.1, 0.7), 8, 1024))
    return _ids(rng, num_in), num_out
