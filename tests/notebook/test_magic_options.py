"""Words of a magic's line: splitting, quotes, escapes, engine options and their types."""

from __future__ import annotations

import dataclasses
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagednb.config import EngineConfig
from pagednb.errors import NotSupportedYetError, OptionError
from pagednb.notebook.magic_options import load_options, split_words, strip_quotes, text_value


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        (r"'\n'", "\n"),
        (r'"\n\n"', "\n\n"),
        (r"\n", "\n"),
        (r'"a \"b\" c"', 'a "b" c'),
        (r"'it\'s'", "it's"),
        (r"\\n", r"\n"),
        (r"'\u00e9\t'", "é\t"),
        ("'日本'", "日本"),
        (r"'C:\qux'", r"C:\qux"),
        ("'a' 'b'", "'a' 'b'"),
        ("it's", "it's"),
        ("''", ""),
    ],
)
def test_quotes_go_and_escapes_are_understood(typed: str, value: str) -> None:
    assert text_value(typed) == value


@given(
    st.lists(
        st.text(st.characters(codec="ascii", categories=["L", "N", "P", "Zs"], exclude_characters="\\\"'"), min_size=1)
    )
)
def test_words_split_as_a_shell_would(words: list[str]) -> None:
    line = " ".join(f'"{word}"' for word in words)
    assert [strip_quotes(word.text) for word in split_words(line)] == words == shlex.split(line)


@given(st.text())
def test_every_word_is_found_where_it_says(line: str) -> None:
    words = split_words(line)
    assert all(line[word.start :].startswith(word.text) for word in words)
    assert "".join("".join(word.text for word in words).split()) == "".join(line.split())


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
