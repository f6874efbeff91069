"""The shipped folder: small, readable by transformers, and as good as the model card says."""

from __future__ import annotations

import csv
import pathlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoTokenizer

from pagednb.embedded_model import tickets_path, weights_folder
from pagednb.embedded_model.corpus import mark_answers, texts
from pagednb.embedded_model.evaluate import count_correct, free_text_examples, held_out_examples, transformers_complete
from pagednb.embedded_model.tokenizer import SPECIAL_TOKENS, render_chat, save_tokenizer, train_tokenizer

TOKENIZER = AutoTokenizer.from_pretrained(weights_folder())
CHAT = [
    {"role": "system", "content": "You route support tickets."},
    {"role": "user", "content": "Where is my parcel? 📦"},
    {"role": "assistant", "content": "shipping"},
    {"role": "user", "content": "  two\n\nlines "},
]


def test_the_folder_is_small() -> None:
    assert (weights_folder() / "model.safetensors").stat().st_size <= 12_000_000
    assert all(path.stat().st_size < 16_000_000 for path in weights_folder().iterdir())


def test_the_config_says_what_it_is() -> None:
    config = AutoConfig.from_pretrained(weights_folder())
    assert config.architectures == ["LlamaForCausalLM"]
    assert config.vocab_size == len(TOKENIZER) == 4096
    assert config.max_position_embeddings == TOKENIZER.model_max_length == 2048


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_text_survives_the_tokenizer(text: str) -> None:
    ids = TOKENIZER.encode(text, add_special_tokens=True)
    assert TOKENIZER.decode(ids, clean_up_tokenization_spaces=False) == text


def test_special_tokens_are_single_and_labels_too() -> None:
    for word in (*SPECIAL_TOKENS, "billing", "technical", "shipping", "account", "other", "positive", "yes"):
        assert len(TOKENIZER.encode(word)) == 1


def test_chat_template_and_training_text_agree() -> None:
    for add_generation_prompt in (False, True):
        rendered = TOKENIZER.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=add_generation_prompt)
        assert rendered == render_chat(CHAT, add_generation_prompt=add_generation_prompt)


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(Exception, match="Unknown role tool"):
        TOKENIZER.apply_chat_template([{"role": "tool", "content": "x"}], tokenize=False)


def test_only_answers_are_marked_for_learning() -> None:
    tokenizer = Tokenizer.from_file(str(weights_folder() / "tokenizer.json"))
    ids = tokenizer.encode(render_chat(CHAT[:3])).ids
    import numpy as np

    assistant, end = tokenizer.token_to_id("<|assistant|>"), tokenizer.token_to_id("<|end|>")
    marks = mark_answers(np.array(ids, dtype=np.int16), assistant, end)
    assert (
        tokenizer.decode([i for i, m in zip(ids, marks, strict=True) if m], skip_special_tokens=False)
        == "shipping<|end|>"
    )


def test_the_tokenizer_is_made_again(tmp_path: pathlib.Path) -> None:
    save_tokenizer(train_tokenizer(texts("small", 500)), tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again.chat_template == TOKENIZER.chat_template
    assert [again.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS] == list(range(len(SPECIAL_TOKENS)))


@pytest.mark.slow
def test_accuracy_on_wordings_that_training_never_saw() -> None:
    complete = transformers_complete(weights_folder(), "cpu", max_new_tokens=4)
    examples = held_out_examples({"routing": 150, "sentiment": 150}, seed=11)
    for task, (correct, total) in count_correct(examples, complete).items():
        assert correct / total >= 0.95, task


@pytest.mark.slow
def test_the_demo_table_is_labelled_right() -> None:
    with tickets_path().open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[:150]
    prompt = "Classify this support ticket as billing, technical, shipping, account or other.\n\n{text}"
    conversations = [[{"role": "user", "content": prompt.format(text=row["text"])}] for row in rows]
    answers = transformers_complete(weights_folder(), "cpu", max_new_tokens=4)(conversations)
    assert sum(answer == row["team"] for answer, row in zip(answers, rows, strict=True)) >= 0.95 * len(rows)


def test_free_texts_are_read() -> None:
    assert {example.task for example in free_text_examples()} == {"routing", "sentiment"}
