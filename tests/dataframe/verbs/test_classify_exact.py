"""``classify`` against brute force: labels out to deceive, each scored by transformers on the whole prompt."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pandas as pd
import pytest
import transformers
from support.label_probabilities import brute_force, check_equal, fallback_tokenizer, token_ids_of, words_of
from support.tiny_models import tiny_hf_model, tiny_model
from support.tiny_tokenizers import byte_level_tokenizer

import pagednb
from pagednb import runtime
from pagednb.dataframe import accessor

BYTE_SIZES = {"vocab_size": 320, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
WORDS = ["the", "the quick", "the quick brown", "thequick", "t", "quick", "lazy dog", "lazy do", "order?"]
UNICODE = ["naïve", "naïve café", "na", "日本", "日本語", "日", "😀", "😀👍", "na\tna", " na", "\u0301na", "NA"]
SPACES = ["the", " the", "  the", "stop", " stop", "stop the", "sto", "b", "the b", "é"]
ROWS = ["where is my order?", "the", "ends with space ", "<assistant>", "x</s>", "[user]<s>", "\n", "fox " * 40]


CASES: dict[str, tuple[str, Any, dict[str, Any], list[str]]] = {
    "added tokens end the prompt": ("llama3.2", None, {}, WORDS),
    "plain text ends the chat": ("qwen3", byte_level_tokenizer, BYTE_SIZES, UNICODE),
    "no chat template": ("gpt2", lambda: byte_level_tokenizer(has_chat_template=False), BYTE_SIZES, WORDS + UNICODE),
    "words begin with a space": ("llama2", fallback_tokenizer, {**BYTE_SIZES, "vocab_size": 270}, SPACES),
}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Model, tokenizer and labels of one case, loaded."""
    architecture, make_tokenizer, sizes, labels = CASES[request.param]
    folder: pathlib.Path = tmp_path_factory.mktemp("model")
    tiny_model(architecture, folder, seed=3, tokenizer=make_tokenizer is None, gain=1.5, **sizes)
    if make_tokenizer is not None:
        make_tokenizer().save_pretrained(folder)
    pagednb.load(folder, device="cpu", dtype="float32", max_model_len=700, max_num_seqs=4)
    yield (
        tiny_hf_model(architecture, seed=3, gain=1.5, **sizes),
        transformers.AutoTokenizer.from_pretrained(folder),
        labels,
    )
    pagednb.unload()
    accessor.unregister()


@pytest.mark.parametrize("template", ["{text}", "Which of them is {text}? It is ", "{text}\nIt is"])
def test_probabilities_are_those_of_brute_force(case: Any, template: str) -> None:
    model, tokenizer, labels = case
    data = pd.DataFrame({"text": ROWS}, index=[0] * len(ROWS))
    result = data.llm.classify(template, labels=labels, probs=True, errors="raise", progress=False)
    for row, text in enumerate(ROWS):
        prompt = words_of(labels) + template.replace("{text}", text)
        paths = [token_ids_of(tokenizer, prompt, label) for label in labels]
        expected = brute_force(model, paths, tokenizer.eos_token_id)
        found = result["label_probs"].iloc[row]
        assert list(found) == labels
        check_equal(list(found.values()), expected)
        assert sum(found.values()) == pytest.approx(1, abs=1e-9)
        assert result["label"].iloc[row] == labels[int(np.argmax(list(found.values())))]
        assert result["label_confidence"].iloc[row] == pytest.approx(max(found.values()), rel=1e-6)
    assert result["label"].cat.categories.tolist() == labels
    runtime.get_engine().check_integrity()
    again = data.llm.classify(template, labels=labels, probs=True, progress=False)
    assert again["label_probs"].tolist() == result["label_probs"].tolist()
    assert again.attrs["pagednb"]["computed"] == 0


def test_the_check_can_fail(case: Any) -> None:
    model, tokenizer, labels = case
    paths = [token_ids_of(tokenizer, "It is ", label) for label in labels]
    right = brute_force(model, paths, tokenizer.eos_token_id)
    other_end = brute_force(model, paths, tokenizer.eos_token_id + 2)
    alone = brute_force(model, [token_ids_of(tokenizer, "It is", label) for label in labels], tokenizer.eos_token_id)
    for wrong in (other_end, alone):
        with pytest.raises(AssertionError):
            check_equal(wrong.tolist(), right)


def test_a_verdict_counts_both_ways_to_write_it(case: Any) -> None:
    model, tokenizer, _ = case
    answers = ["yes", "Yes", "no", "No"]
    texts = pd.Series(["late", "lost"])
    if len({tuple(token_ids_of(tokenizer, "", answer)) for answer in answers}) < len(answers):
        pytest.skip("this tokenizer has no capital letters")
    result = texts.llm.filter("Is it {}?", confidence=True, progress=False)
    for text, yes, keep in zip(texts, result["keep_confidence"], result["keep"], strict=True):
        prompt = f"Is it {text}?\n\nAnswer yes or no.\n"
        paths = [token_ids_of(tokenizer, prompt, answer) for answer in answers]
        expected = brute_force(model, paths, tokenizer.eos_token_id)[:2].sum()
        assert yes == pytest.approx(expected, abs=1e-4)
        assert keep == (yes >= 0.5)


def test_a_score_is_the_mean_of_its_distribution(case: Any) -> None:
    model, tokenizer, _ = case
    numbers = range(7, 13)
    if len({tuple(token_ids_of(tokenizer, "", str(number))) for number in numbers}) < len(numbers):
        pytest.skip("this tokenizer has no digits")
    result = pd.Series(["late"]).llm.score("How {}?", scale=(7, 12), progress=False)
    prompt = "Answer with a whole number from 7 to 12.\n\nHow late?"
    paths = [token_ids_of(tokenizer, prompt, str(number)) for number in numbers]
    expected = brute_force(model, paths, tokenizer.eos_token_id)
    assert list(result["score_probs"][0]) == [str(number) for number in numbers]
    check_equal(list(result["score_probs"][0].values()), expected)
    assert result["score"][0] == pytest.approx(expected @ np.array(numbers), abs=1e-3)
