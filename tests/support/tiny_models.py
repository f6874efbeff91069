"""Random tiny transformers checkpoints of every architecture, and a tiny tokenizer with a chat template.

Sizes are odd on purpose (a vocabulary of 131, two KV heads for six query heads). The weights are drawn so that greedy
decoding wanders and the best token leads by far more than fp32 noise.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import tokenizers
import torch
import transformers
from support.tiny_tokenizers import byte_level_tokenizer

VOCAB_SIZE = 131
MAX_POSITIONS = 1024
BOS, EOS, PAD = 1, 2, 0

_LLAMA_LIKE: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 96,
    "intermediate_size": 168,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": MAX_POSITIONS,
}
_LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_GPT2: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "n_positions": MAX_POSITIONS,
    "n_embd": 96,
    "n_layer": 3,
    "n_head": 6,
}
_OPT: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 96,
    "ffn_dim": 168,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "max_position_embeddings": MAX_POSITIONS,
}

_CONFIGS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "llama2": (transformers.LlamaConfig, {**_LLAMA_LIKE, "num_key_value_heads": 6}),
    "llama3.1": (transformers.LlamaConfig, {**_LLAMA_LIKE, "rope_parameters": _LLAMA3_ROPE}),
    "llama3.2": (
        transformers.LlamaConfig,
        {**_LLAMA_LIKE, "rope_parameters": _LLAMA3_ROPE, "tie_word_embeddings": True},
    ),
    "llama-bias": (transformers.LlamaConfig, {**_LLAMA_LIKE, "attention_bias": True, "mlp_bias": True}),
    "mistral": (transformers.MistralConfig, {**_LLAMA_LIKE, "head_dim": 24, "sliding_window": 8}),
    "qwen2": (transformers.Qwen2Config, _LLAMA_LIKE),
    "qwen2.5": (transformers.Qwen2Config, {**_LLAMA_LIKE, "tie_word_embeddings": True}),
    "qwen3": (transformers.Qwen3Config, {**_LLAMA_LIKE, "head_dim": 32}),
    "gpt2": (transformers.GPT2Config, _GPT2),
    "opt": (transformers.OPTConfig, _OPT),
    "opt-350m": (transformers.OPTConfig, {**_OPT, "do_layer_norm_before": False, "word_embed_proj_dim": 40}),
}
ARCHITECTURES = tuple(_CONFIGS)
_SHARPER = {"opt-350m": 2.0}  # on queries and keys: norms after the blocks flatten attention until texts repeat


def tiny_config(architecture: str, **overrides: Any) -> Any:
    """Return the transformers config of a tiny model."""
    kind, settings = _CONFIGS[architecture]
    special = {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}
    return kind(**{**settings, **special, **overrides})


def tiny_hf_model(architecture: str, *, seed: int = 0, gain: float = 3.0, **overrides: Any) -> Any:
    """Return a transformers model in fp32, in evaluation mode.

    ``gain`` is the size of the matrices: 3 makes texts wander, and rounding errors grow; about 1 keeps them small.
    """
    with torch.random.fork_rng(devices=[]):
        model = transformers.AutoModelForCausalLM.from_config(tiny_config(architecture, **overrides)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            sharper = _SHARPER.get(architecture, 1.0) if "q_proj" in name or "k_proj" in name else 1.0
            parameter.copy_(sharper * _draw(name, parameter.shape, gain, generator))
    return model


def tiny_model(
    architecture: str, folder: str | pathlib.Path, *, seed: int = 0, tokenizer: bool = False, **overrides: Any
) -> pathlib.Path:
    """Save a tiny checkpoint (config and safetensors) into ``folder`` and return its path; see tiny_hf_model."""
    folder = pathlib.Path(folder)
    tiny_hf_model(architecture, seed=seed, **overrides).save_pretrained(folder)
    if tokenizer:
        tiny_tokenizer(folder)
    return folder


def tiny_byte_model(folder: str | pathlib.Path, *, architecture: str = "llama3.2", **overrides: Any) -> pathlib.Path:
    """Save a tiny checkpoint that can write any text: every byte is a token, among 320; it ends with token 1."""
    sizes = {"vocab_size": 320, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
    folder = tiny_model(architecture, folder, **{**sizes, **overrides})
    byte_level_tokenizer().save_pretrained(folder)
    return folder


def tiny_tokenizer(folder: str | pathlib.Path) -> Any:
    """Save a byte-level BPE tokenizer of at most ``VOCAB_SIZE`` tokens with a chat template; return it."""
    alphabet = [chr(code) for code in range(ord("a"), ord("z") + 1)] + ["Ġ", "Ċ", ".", ",", "?", "!"]
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>"))
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=["<pad>", "<s>", "</s>", "<unk>", "<user>", "<assistant>"],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    corpus = ["the quick brown fox jumps over the lazy dog.", "where is my order? it was late, again!"] * 20
    bpe.train_from_iterator(corpus, trainer)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )
    fast.chat_template = (
        "{{ bos_token }}{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    fast.save_pretrained(folder)
    return fast


def _draw(name: str, shape: torch.Size, gain: float, generator: torch.Generator) -> torch.Tensor:
    noise = torch.randn(shape, generator=generator)
    if len(shape) == 1:
        is_norm_weight = name.endswith("weight")
        return 1.0 + 0.1 * noise if is_norm_weight else 0.1 * noise
    if "embed" in name or "wte" in name or "wpe" in name:
        return noise * (shape[-1] ** 0.5 / noise.norm(dim=-1, keepdim=True))  # a long row would win every argmax
    return noise * (gain / shape[-1] ** 0.5)
