"""Flags of %llm load: engine options and their types."""

from __future__ import annotations

import dataclasses

import pytest

from pagednb.config import EngineConfig
from pagednb.errors import NotSupportedYetError, OptionError
from pagednb.notebook.load_flags import load_flags, load_options, values_of
from pagednb.notebook.words import split_words


def test_engine_options_take_the_types_of_their_annotations() -> None:
    line = "some/model --max-model-len 128 --gpu-memory-utilization=0.5 --dtype 'float32' --no-enable-prefix-caching"
    assert load_options([word.text for word in split_words(line)]) == {
        "model": "some/model",
        "max_model_len": 128,
        "gpu_memory_utilization": 0.5,
        "dtype": "float32",
        "enable_prefix_caching": False,
    }


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("", {}),
        ("--enforce-eager", {"enforce_eager": True}),
        ("--enforce-eager folder", {"enforce_eager": True, "model": "folder"}),
        ("--enforce-eager off folder", {"enforce_eager": False, "model": "folder"}),
        ("--enforce-eager=true", {"enforce_eager": True}),
        ("folder --replace", {"model": "folder", "replace": True}),
        ("--max-model-len none", {"max_model_len": None}),
        ("--seed 3 '/a folder/b'", {"seed": 3, "model": "/a folder/b"}),
        ("--block_size 32", {"block_size": 32}),
        ("--tensor-parallel-size 1", {"tensor_parallel_size": 1}),
    ],
)
def test_load_lines(line: str, options: dict[str, object]) -> None:
    assert load_options([word.text for word in split_words(line)]) == options


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--max-modl-len 4", "max_model_len"),
        ("--max-model-len four", "--max-model-len needs a whole number, not 'four'"),
        ("--max-model-len", "--max-model-len needs a value"),
        ("--gpu-memory-utilization lots", "needs a number"),
        ("--gpu-memory-utilization 7", "gpu_memory_utilization"),
        ("--enforce-eager=maybe", "true or false"),
        ("--block-size 17", "block_size"),
        ("one two", "Unexpected 'two'"),
        ("-x", "'x'"),
    ],
)
def test_load_mistakes_are_sentences(line: str, message: str) -> None:
    with pytest.raises(OptionError, match=message.replace("(", r"\(")):
        load_options([word.text for word in split_words(line)])


def test_known_but_unbuilt_options_say_so() -> None:
    with pytest.raises(NotSupportedYetError, match="quantization"):
        load_options(["--quantization", "awq"])


def test_every_engine_option_is_a_flag() -> None:
    for field in dataclasses.fields(EngineConfig):
        flag = "--" + field.name.replace("_", "-")
        value = [] if isinstance(field.default, bool) else ["none" if field.default is None else str(field.default)]
        assert field.name in load_options([flag, *value])


def test_flags_and_their_values_are_known_to_the_tab_key() -> None:
    assert {"--max-model-len", "--gpu-memory-utilization", "--replace"} <= set(load_flags())
    assert values_of("--load-format") == ["auto", "safetensors", "pt", "dummy"]
    assert values_of("--max-model-len") == values_of("--nonsense") == []
