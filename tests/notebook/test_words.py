"""Words of a magic's line: splitting, quotes, escapes, lists."""

from __future__ import annotations

import argparse
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagednb.notebook.words import (
    number_map,
    split_words,
    strip_quotes,
    text_list,
    text_value,
    unknown_word,
    whole_numbers,
)


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


@pytest.mark.parametrize(
    ("typed", "values"),
    [
        ("a,b", ["a", "b"]),
        ("'yes, no'", ["yes", "no"]),
        ("'a, b','c d',e", ["a, b", "c d", "e"]),
        ("a,'b, c'", ["a", "b, c"]),
        ("\"'a, b', c\"", ["a, b", "c"]),
        ("don't,can't", ["don't", "can't"]),
        ("\"don't know, can't say\"", ["don't know", "can't say"]),
        (r"'a\n',b", ["a\n", "b"]),
        ("a,", ["a", ""]),
        ("a,,b", ["a", "", "b"]),
        ("one", ["one"]),
    ],
)
def test_lists_of_texts(typed: str, values: list[str]) -> None:
    assert text_list(typed) == values
    assert [word.text for word in split_words(f"--choices {typed} rest")] == ["--choices", typed, "rest"]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters='\\"')), min_size=1))
def test_a_list_of_quoted_texts_comes_back(texts: list[str]) -> None:
    typed = ",".join(f'"{text}"' for text in texts)
    if len(texts) > 1:
        assert text_list(typed) == texts
    assert [word.text for word in split_words(typed)] == [typed]


def test_dashes_make_no_two_flags_alike() -> None:
    flags = ["--stop", "-o", "--max-tokens"]
    assert "Did you mean --max-tokens?" in str(unknown_word("flag", "--max-token", flags))
    assert str(unknown_word("flag", "--json", flags)) == "Unknown flag '--json'. Choose from --stop, -o, --max-tokens."


def test_lists_of_numbers() -> None:
    assert whole_numbers("3,-4") == [3, -4]
    assert number_map("'42:-100, 7:2.5'") == {42: -100.0, 7: 2.5}
    for read, text in ((whole_numbers, "3,,4"), (number_map, "5"), (number_map, "a:1")):
        with pytest.raises(argparse.ArgumentTypeError, match="needs"):
            read(text)
