"""Small real tokenizers, made in milliseconds: byte-level BPE (as GPT-2, Qwen) and byte fallback (as Llama 2)."""

from __future__ import annotations

import functools

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

BOS, EOS = "<s>", "</s>"
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('unknown role ' + m.role) }}{% endif %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}{% if shout %}!{% endif %}"
)
_CORPUS = ["the quick brown fox jumps over the lazy dog " * 3, "stop here, and there: STOP", "naïve café 😀👍🏽 日本語"]


@functools.cache
def byte_level_backend(vocab_size: int = 320) -> tokenizers.Tokenizer:
    """Every byte is a token; characters of several bytes are mostly split over tokens."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(_CORPUS, trainer)
    _prepend_bos(backend)
    return backend


@functools.cache
def byte_fallback_backend() -> tokenizers.Tokenizer:
    """Words begin with a visible space, unknown characters fall back to bytes, the first space is dropped."""
    words = ["▁", "▁the", "the", "▁stop", "s", "t", "o", "p", "▁a", "b", ",", "é"]
    vocab = {token: i for i, token in enumerate([BOS, EOS, *(f"<0x{byte:02X}>" for byte in range(256)), *words])}
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[], byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens([BOS, EOS])
    _prepend_bos(backend)
    return backend


def byte_level_tokenizer(*, has_chat_template: bool = True) -> PreTrainedTokenizerFast:
    """The byte-level backend as transformers' tokenizer, BOS prepended, with a chat template that writes BOS."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=byte_level_backend(), bos_token=BOS, eos_token=EOS)
    if has_chat_template:
        tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _prepend_bos(backend: tokenizers.Tokenizer) -> None:
    backend.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, backend.token_to_id(BOS))]
    )
