"""Loading a tokenizer: the short way to a class that is known gives what AutoTokenizer gives."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
import transformers
from support.tiny_models import tiny_config
from support.tiny_tokenizers import byte_level_tokenizer

from pagednb.config import EngineConfig
from pagednb.engine import tokenization
from pagednb.engine.tokenization import TextCodec, load_text_codec
from pagednb.errors import ModelLoadError

TEXT = "the quick <s> fox, naïve 😀</s> don't  STOP 123"
CHAT = [{"role": "user", "content": TEXT}]
MODELS = {"llama": "llama3.1", "qwen2": "qwen2", "qwen3": "qwen3", "gpt2": "gpt2", "opt": "opt", "mistral": "mistral"}
SUFFIXES = {"PreTrainedTokenizer": ("Fast",), "TokenizersBackend": ("",)}
"""Classes that files name in one form only; the others come with and without Fast."""


def write_tokenizer(folder: pathlib.Path, model_type: str, **settings: Any) -> pathlib.Path:
    """Write a config and a tokenizer whose settings say something else."""
    tiny_config(MODELS[model_type]).save_pretrained(folder)
    byte_level_tokenizer().save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return folder


def load(folder: pathlib.Path, model_type: str, **options: Any) -> TextCodec:
    codec = load_text_codec(EngineConfig(model=folder, **options), folder, model_type)
    assert codec is not None
    return codec


@pytest.fixture
def without_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        pytest.fail("AutoTokenizer was asked")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", refuse)


@pytest.mark.parametrize(
    ("model_type", "name"),
    [
        (model_type, name + suffix)
        for model_type, name in tokenization._KNOWN_CHOICES
        for suffix in SUFFIXES.get(name, ("", "Fast"))
    ],
)
def test_a_known_class_is_what_auto_tokenizer_chooses(
    model_type: str, name: str, tmp_path: pathlib.Path, request: pytest.FixtureRequest
) -> None:
    folder = write_tokenizer(tmp_path, model_type, tokenizer_class=name)
    expected = transformers.AutoTokenizer.from_pretrained(folder)
    request.getfixturevalue("without_auto")
    ours = load(folder, model_type).tokenizer
    assert type(ours) is type(expected)
    assert ours.backend_tokenizer.to_str() == expected.backend_tokenizer.to_str()
    assert ours.special_tokens_map == expected.special_tokens_map
    assert ours(TEXT)["input_ids"] == expected(TEXT)["input_ids"]
    for options in ({"tokenize": False}, {"add_generation_prompt": True}):
        assert ours.apply_chat_template(CHAT, **options) == expected.apply_chat_template(CHAT, **options)


@pytest.mark.parametrize(
    ("model_type", "settings"),
    [
        ("mistral", {"tokenizer_class": "PreTrainedTokenizerFast"}),
        ("llama", {"tokenizer_class": "LlamaTokenizerFast"}),
        ("llama", {"tokenizer_class": None}),
        ("llama", {"auto_map": {"AutoTokenizer": ["x--y.Z", None]}}),
    ],
    ids=["mistral", "another class", "no class", "code of its own"],
)
def test_all_else_is_left_to_auto_tokenizer(
    model_type: str, settings: dict[str, Any], tmp_path: pathlib.Path, without_auto: None
) -> None:
    write_tokenizer(tmp_path, model_type, **settings)
    with pytest.raises(pytest.fail.Exception, match="AutoTokenizer was asked"):
        load(tmp_path, model_type)


def test_a_tokenizer_of_another_folder_is_left_to_auto_tokenizer(tmp_path: pathlib.Path, without_auto: None) -> None:
    write_tokenizer(tmp_path, "llama", tokenizer_class="PreTrainedTokenizerFast")
    with pytest.raises(pytest.fail.Exception, match="AutoTokenizer was asked"):
        load(tmp_path, "llama", tokenizer=str(tmp_path))


UNKNOWN_MODEL = '{"version": "1.0", "added_tokens": [], "model": {"type": "Bogus"}}'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("tokenizer.json", content) for content in ("", "{", "[]", "{}", "null", UNKNOWN_MODEL)),
        *(("tokenizer_config.json", content) for content in ("{", "[]", '{"tokenizer_class": 5}')),
    ],
)
def test_broken_files_are_one_sentence(name: str, content: str, tmp_path: pathlib.Path) -> None:
    write_tokenizer(tmp_path, "llama", tokenizer_class="PreTrainedTokenizerFast")
    (tmp_path / name).write_text(content)
    with pytest.raises(ModelLoadError, match="cannot be loaded"):
        load(tmp_path, "llama")


def test_an_error_without_words_is_named_by_its_class(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise ValueError

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", fail)
    with pytest.raises(ModelLoadError, match="cannot be loaded: ValueError"):
        load(write_tokenizer(tmp_path, "mistral"), "mistral")
