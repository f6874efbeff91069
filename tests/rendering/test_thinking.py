"""Thoughts and answers, whatever the edges of the deltas."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagednb.rendering.thinking import Piece, ThinkingSplitter

PIECES = st.sampled_from(["<think>", "</think>", "<", "<th", "</", "</think", "think>", ">", "a", " ", "\n", "é"])


def split(deltas: list[str], **options: object) -> tuple[str, str]:
    """The thoughts and the answer of a stream."""
    splitter = ThinkingSplitter(**options)  # type: ignore[arg-type]
    pieces = [piece for delta in deltas for piece in splitter.push(delta)] + splitter.finish()
    assert all(piece.text for piece in pieces)
    kinds = [piece.kind for piece in pieces]
    assert kinds == sorted(kinds, reverse=True)  # first thoughts, then the answer
    return tuple("".join(text for kind, text in pieces if kind == wanted) for wanted in ("thinking", "answer"))


@pytest.mark.parametrize(
    ("text", "thinking", "answer"),
    [
        ("<think>why</think>so", "why", "so"),
        ("\n <think>why</think>\n\nso", "\n why", "\n\nso"),
        ("so", "", "so"),
        ("<think>why", "why", ""),
        ("<think>why</thin", "why</thin", ""),
        ("<thi", "", "<thi"),
        ("", "", ""),
        ("<think></think>", "", ""),
        ("a <think>b</think>", "", "a <think>b</think>"),
        ("<think>a</think>b<think>c</think>", "a", "b<think>c</think>"),
        ("<think>a<think>b</think>c</think>", "a<think>b", "c</think>"),
        ("<<think>a", "", "<<think>a"),
    ],
)
def test_texts(text: str, thinking: str, answer: str) -> None:
    assert split([text]) == (thinking, answer)
    assert split(list(text)) == (thinking, answer)


def test_a_template_may_have_opened_the_thought() -> None:
    assert split(["why</th", "ink>so"], starts_inside=True) == ("why", "so")
    assert split(["<think>a</think>"], starts_inside=True) == ("<think>a", "")


def test_other_tags() -> None:
    assert split(list("[THINK]a[/THINK]b"), open="[THINK]", close="[/THINK]") == ("a", "b")


def test_half_a_tag_is_never_shown() -> None:
    splitter = ThinkingSplitter()
    assert [splitter.push(delta) for delta in ("<th", "ink>a</", "think", ">b")] == [
        [],
        [Piece("thinking", "a")],
        [],
        [Piece("answer", "b")],
    ]


@given(st.lists(PIECES).map("".join), st.data(), st.booleans())
def test_edges_do_not_matter(text: str, data: st.DataObject, starts_inside: bool) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    deltas = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert split(deltas, starts_inside=starts_inside) == split([text], starts_inside=starts_inside)
