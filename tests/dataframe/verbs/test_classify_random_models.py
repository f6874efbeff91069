"""``classify`` against brute force on random models: any architecture, weights, tokenizer, labels and rows."""

from __future__ import annotations

import pathlib
import random
from typing import Any

import numpy as np
import pandas as pd
import pytest
import transformers
from support.label_probabilities import brute_force, check_equal, fallback_tokenizer, token_ids_of, words_of
from support.tiny_models import ARCHITECTURES, tiny_hf_model, tiny_model
from support.tiny_tokenizers import byte_level_tokenizer

import pagednb
from pagednb.dataframe import accessor

SIZES = {"vocab_size": 320, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
TOKENIZERS: list[Any] = [
    fallback_tokenizer,
    byte_level_tokenizer,
    lambda: byte_level_tokenizer(has_chat_template=False),
]
PIECES = [
    "the",
    " the",
    "t",
    "quick",
    " ",
    "lazy dog",
    "é",
    "日",
    "日本",
    "😀",
    "\u0301",
    "\n",
    "A",
    "a",
    "1",
    "10",
    "?",
]


def random_texts(rng: random.Random, count: int) -> list[str]:
    """Distinct texts that are not blank, some the beginnings of others."""
    texts: dict[str, None] = {}
    while len(texts) < count:
        text = "".join(rng.choices(PIECES, k=rng.randint(1, 3)))
        if rng.random() < 0.3 and texts:
            text = rng.choice(list(texts)) + text
        if text.strip():
            texts[text] = None
    return list(texts)


@pytest.mark.parametrize("number", range(4))
def test_probabilities_are_those_of_brute_force(number: int, tmp_path: pathlib.Path) -> None:
    rng = random.Random(number)
    architecture, seed, gain = rng.choice(ARCHITECTURES), rng.randrange(10**6), rng.uniform(0.8, 1.6)
    labels, rows = random_texts(rng, rng.randint(2, 8)), random_texts(rng, 3)
    template = rng.choice(["{text}", "It is {text}? ", "{text}\nIt is"])
    tiny_model(architecture, tmp_path, seed=seed, gain=gain, **SIZES)
    rng.choice(TOKENIZERS)().save_pretrained(tmp_path)
    model = tiny_hf_model(architecture, seed=seed, gain=gain, **SIZES)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    pagednb.load(tmp_path, device="cpu", dtype="float32", max_model_len=500, max_num_seqs=3)
    try:
        data = pd.DataFrame({"text": rows})
        result = data.llm.classify(template, labels=labels, probs=True, errors="raise", progress=False)
    finally:
        pagednb.unload()
        accessor.unregister()
    for text, found in zip(rows, result["label_probs"], strict=True):
        prompt = words_of(labels) + template.replace("{text}", text)
        paths = [token_ids_of(tokenizer, prompt, label) for label in labels]
        check_equal(list(found.values()), brute_force(model, paths, tokenizer.eos_token_id))
        assert sum(found.values()) == pytest.approx(1, abs=1e-9)
    assert result["label"].tolist() == [labels[int(np.argmax(list(found.values())))] for found in result["label_probs"]]
