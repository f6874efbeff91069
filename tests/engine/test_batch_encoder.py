"""Texts that begin alike are cut, and still get exactly the tokens that they have alone, with any tokenizer."""

from __future__ import annotations

import random
import threading

import numpy as np
import pytest
import tokenizers
from support.tiny_tokenizers import BOS, byte_fallback_backend, byte_level_backend, byte_level_tokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from pagednb.engine import batch_encoder
from pagednb.engine.batch_encoder import BatchEncoder
from pagednb.engine.tokenization import TextCodec

WORDS = ["the", "quick", "fox", "jumps", "over,", "and", "naïve", "123", "4567", "don't", "STOP:"]
WORDS += ["café\n\n", "\t.", "日本語", "😀", "<s>", "</s>"]
GUIDE = "the quick brown fox, and the lazy dog: " * 12
WORD_REGEX = r"(?i:'s|'t|'re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def trained(
    pre_tokenizer: pre_tokenizers.PreTokenizer,
    normalizer: normalizers.Normalizer | None = None,
    end: str = "",
) -> tokenizers.Tokenizer:
    """A BPE tokenizer of some hundred tokens that puts BOS before a text and ``end`` behind it."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        backend.normalizer = normalizer
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    backend.train_from_iterator([GUIDE, " ".join(WORDS)] * 3, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single=f"<s> $A {end}".strip(), special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return backend


def by_regex(pattern: str = WORD_REGEX) -> pre_tokenizers.PreTokenizer:
    """Words as Llama 3 and Qwen have them."""
    split = pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


# a word of the guide ends elsewhere if "END" comes anywhere behind it
LOOKS_AHEAD = r" \w(?=[\s\S]*END)|\w+(?=[\s\S]*END)| ?\w+|\s|[^\w\s]+"

BACKENDS = {
    "byte level": byte_level_backend,
    "byte level, space before": lambda: trained(pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "words by regex": lambda: trained(by_regex()),
    "words by regex, NFC": lambda: trained(by_regex(), normalizers.NFC()),
    "an end token": lambda: trained(by_regex(), end="</s>"),
    "lower case": lambda: trained(by_regex(), normalizers.Lowercase()),
    "metaspace": lambda: trained(pre_tokenizers.Metaspace()),
    "no words": byte_fallback_backend,
    "looks far ahead": lambda: trained(by_regex(LOOKS_AHEAD)),
}
ARE_CUT = BACKENDS.keys() - {"an end token", "lower case", "no words"}


def random_texts(choose: random.Random, count: int) -> list[str]:
    """Rows of one template: a beginning that ends in any way, then anything."""
    words = [choose.choice(WORDS) for _ in range(choose.randint(0, 60))]
    guide = (
        GUIDE[: choose.choice([0, 150, 300, 480])]
        + " ".join(words)
        + choose.choice(["", " ", "\n", "e", "\u0041", "12"])
    )
    rows = []
    for _ in range(count):
        row = choose.choice(["", " ", "\u0301", "s", "'s", "9", "\n", "\u3042", "s>", ">"])
        row += choose.choice([" ", ""]).join(choose.choice(WORDS) for _ in range(choose.randint(0, 12)))
        rows.append(guide + row + choose.choice(["", "END", "\n\nEND "]))
    return rows


@pytest.mark.parametrize("name", BACKENDS)
def test_every_text_has_the_tokens_that_it_has_alone(name: str) -> None:
    backend, choose = BACKENDS[name](), random.Random(1)
    encoder = BatchEncoder(backend)
    for _ in range(60):
        texts, adds = random_texts(choose, choose.choice([1, 4, 9])), choose.random() < 0.7
        expected = [backend.encode(text, add_special_tokens=adds).ids for text in texts]
        encoded = encoder.encode(texts, add_special_tokens=adds)
        assert [ids.tolist() for ids in encoded] == expected
        assert {ids.dtype for ids in encoded} == {np.dtype(np.int32)}


@pytest.mark.parametrize("name", BACKENDS)
def test_a_long_beginning_is_encoded_once(name: str) -> None:
    encoder = BatchEncoder(BACKENDS[name]())
    for start in range(0, 100, 50):
        encoder.encode([f"{GUIDE}Ticket: {row} is late" for row in range(start, start + 50)], add_special_tokens=True)
    num_chars = 100 * len(f"{GUIDE}Ticket: 10 is late")
    assert (encoder.num_chars_encoded < num_chars / 4) is (name in ARE_CUT)


def test_texts_that_differ_from_the_start_are_encoded_as_they_are() -> None:
    encoder = BatchEncoder(byte_level_backend())
    texts = [f"{row} {GUIDE}" for row in range(20)]
    encoder.encode(texts, add_special_tokens=True)
    assert encoder.num_chars_encoded == sum(map(len, texts))


def test_without_the_guard_a_tokenizer_that_looks_ahead_would_be_cut_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof that the test above can fail."""
    monkeypatch.setattr(batch_encoder._Head, "joined", lambda head, rest: np.array([*head.token_ids, *rest], np.int32))
    with pytest.raises(AssertionError):
        test_every_text_has_the_tokens_that_it_has_alone("looks far ahead")


def test_a_template_that_writes_bos_gets_no_second_one_when_cut() -> None:
    tokenizer = byte_level_tokenizer()
    codec = TextCodec(tokenizer)
    texts = [f"{BOS if row % 3 else ''}{GUIDE}{row}" for row in range(30)]
    expected = [tokenizer.backend_tokenizer.encode(text.removeprefix(BOS)).ids for text in texts]
    assert [ids.tolist() for ids in codec.encode(texts)] == expected


def test_threads_with_different_templates_do_not_mix() -> None:
    backend = byte_level_backend()
    encoder = BatchEncoder(backend)
    failures = []

    def work(name: str) -> None:
        for start in range(30):
            texts = [f"{name} {GUIDE}{name} {start * 10 + row}" for row in range(10)]
            if [ids.tolist() for ids in encoder.encode(texts, add_special_tokens=True)] != [
                backend.encode(text).ids for text in texts
            ]:
                failures.append(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a fox", "dogs", "the cat")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
